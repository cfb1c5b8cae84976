import type { Bits, DType, MxArray } from "@mflux-depth/mlx";
import { LoadError, type LoadOptions, type Module } from "@mflux-depth/mlx/nn";
import { ModelError } from "../errors.js";
import { asModelError, type Checkpoint } from "./format.js";
import { isSaved, type SavedNames, savedTensors } from "./mflux.js";

/**
 * Loads a component's weights into its module, off the event loop. Every parameter needs a tensor and every tensor a
 * parameter. Files in mflux's layout are translated; quantized weights keep their bits.
 * @param options.rename the module's name for a tensor; null for a tensor it does not use.
 * @param options.savedNames mflux's names of the tensors, if they differ.
 * @param options.original the checkpoint that a saved one was made from, to recover a tensor that saving lost.
 * @param options.onTensor receives each tensor, unread, with its key, before it becomes a parameter.
 * @param options.change changes a tensor before that, lazily.
 * @param options.deliver receives the parameters instead of the module (see {@link LoadOptions}).
 * @param options.onBytes receives the number of bytes read since its last call.
 * @throws {ModelError} naming the file and the tensor if they do not fit. The module is disposed.
 * @throws the reason of `options.signal` when it aborts. The module is disposed.
 */
export async function loadWeights(
  module: Module,
  checkpoint: Checkpoint,
  options: {
    dtype?: DType;
    matrices?: NonNullable<LoadOptions["matrices"]>;
    quantization?: { bits: Bits; groupSize?: number } | undefined;
    rename?: (name: string) => string | null;
    savedNames?: SavedNames;
    original?: Checkpoint | null;
    onTensor?: (key: string, tensor: MxArray) => void;
    change?: (key: string, tensor: MxArray) => MxArray;
    deliver?: NonNullable<LoadOptions["deliver"]>;
    onBytes?: (bytes: number) => void;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<void> {
  const { dtype, matrices, quantization, deliver, onBytes, onTensor, change, signal } = options;
  /** The checkpoint's name for each parameter of the module. */
  const storedNames = new Map<string, string>();
  function* renamed(): Generator<readonly [string, MxArray], void> {
    for (const [name, key, tensor] of namedTensors(checkpoint, options)) {
      storedNames.set(key, name);
      onTensor?.(key, tensor);
      const changed = change?.(key, tensor) ?? tensor;
      if (changed !== tensor) tensor.dispose();
      yield [key, changed];
    }
  }
  try {
    await module.load(renamed(), {
      ...(dtype && { dtype }),
      ...(matrices && { matrices }),
      ...(quantization && { quantization }),
      ...(deliver && { deliver }),
      ...(onBytes && { onRead: (keys) => onBytes(storedBytes(checkpoint, storedNames, keys)) }),
      signal,
    });
  } catch (error) {
    if (error instanceof LoadError) throw misfit(error, checkpoint, storedNames);
    throw asModelError(checkpoint.source, error);
  }
}

/**
 * Yields the tensors of a checkpoint that its module uses, unread, with their names in the files and in the module. They
 * belong to the consumer.
 */
export function* namedTensors(
  checkpoint: Checkpoint,
  {
    rename = (name) => name,
    savedNames = {},
    original = null,
  }: {
    rename?: (name: string) => string | null;
    savedNames?: Partial<SavedNames>;
    original?: Checkpoint | null;
  } = {},
): Generator<readonly [name: string, key: string, tensor: MxArray], void> {
  const tensors = isSaved(checkpoint) ? savedTensors(checkpoint, savedNames, original) : asStored(checkpoint);
  for (const [name, plain, tensor] of tensors) {
    const key = rename(plain);
    if (key === null) tensor.dispose();
    else yield [name, key, tensor];
  }
}

function* asStored(
  checkpoint: Checkpoint,
): Generator<readonly [name: string, key: string, tensor: MxArray], void> {
  for (const [name, tensor] of checkpoint.tensors()) yield [name, name, tensor];
}

function storedBytes(
  { entries }: Checkpoint,
  storedNames: ReadonlyMap<string, string>,
  keys: readonly string[],
): number {
  return keys.reduce((sum, key) => sum + (entries.get(storedNames.get(key) ?? key)?.bytes ?? 0), 0);
}

/** Describes the first problem of a strict load, using the checkpoint's name of the tensor. */
function misfit(
  error: LoadError,
  { fileOf, source }: Checkpoint,
  storedNames: ReadonlyMap<string, string>,
): ModelError {
  const modelError = (tensor: string | undefined, problem: string, others: number): ModelError =>
    new ModelError(
      (tensor !== undefined && fileOf.get(tensor)) || source,
      `${problem}${others > 0 ? ` (and ${others} more ${others > 1 ? "have" : "has"} this problem)` : ""}`,
      { cause: error },
    );
  const { misshapen, missing, unexpected } = error;
  if (misshapen[0]) {
    const { name, expected, found } = misshapen[0];
    const stored = storedNames.get(name) ?? name;
    return modelError(
      stored,
      `tensor "${stored}" is ${found}, not ${expected} as its config requires`,
      misshapen.length - 1,
    );
  }
  if (missing[0] !== undefined)
    return modelError(undefined, `tensor "${missing[0]}" is missing`, missing.length - 1);
  const stored = storedNames.get(unexpected[0] ?? "") ?? unexpected[0] ?? "";
  return modelError(stored, `tensor "${stored}" does not belong to this model`, unexpected.length - 1);
}
