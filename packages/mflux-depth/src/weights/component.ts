import { astype, type Bits, type DType, isfinite, type MxArray, memory, scope, sum } from "@mflux-depth/mlx";
import { batchBytes, Linear, type Module } from "@mflux-depth/mlx/nn";
import { untilAborted } from "../abort.js";
import { OptionError } from "../errors.js";
import { openCheckpoint } from "./checkpoint.js";
import type { Checkpoint } from "./format.js";
import type { BlockOptions } from "./gguf/checkpoint.js";
import { loadWeights, namedTensors } from "./load.js";
import { checkScales, type SavedNames, savedGroupSize, storedBits } from "./mflux.js";
import { variantIn } from "./weight-files.js";

/** Progress of reading a component's weights. */
export interface LoadProgress {
  /** The component's folder in the repository: "transformer". */
  readonly component: string;
  /** "read" is reported repeatedly between "start" and "end". */
  readonly state: "start" | "read" | "end";
  /** Size of the weights as stored. */
  readonly bytes: number;
  /** How many of those bytes have been read. */
  readonly bytesDone: number;
  /** Duration of reading, with "end". */
  readonly seconds?: number;
}

/** A tensor with its name in the module. */
export type NamedTensor = readonly [key: string, tensor: MxArray];

/** A change of a network between loading its weights and its first use: attached adapters, replaced weights. */
export interface Preparation<M extends Module = Module> {
  /** The maximum number of bytes by which the network grows, counted in the memory plan. */
  readonly bytes: number;
  /** Additional bytes needed while the change is made (default 0). */
  readonly working?: number;
  /**
   * Changes the network. It is called whenever the weights have been read. The network owns what is attached to it, and
   * is freed if this throws.
   * @param signal aborts when the weights are no longer needed.
   * @param stored the tensors of the checkpoint under the network's names, unread; they belong to the consumer.
   */
  apply(network: M, signal: AbortSignal, stored: () => Iterable<NamedTensor>): void | Promise<void>;
  /**
   * Makes the same change to tensors on their way from the checkpoint, for saving them.
   * @param network has no weights; what is attached to it is freed with it.
   * @param source the checkpoint, for messages.
   */
  merging?(
    network: M,
    signal: AbortSignal,
    stored: () => Iterable<NamedTensor>,
    source: string,
  ): Promise<TensorChanges>;
}

/** Changes tensors before they become parameters. */
export interface TensorChanges {
  /** The changed tensor, lazily, or the tensor itself. */
  change(key: string, tensor: MxArray): MxArray;
  /** @throws {ModelError} if the tensor for a change never came. */
  requireAllUsed(): void;
}

export interface ComponentOptions<M extends Module> {
  /** The folder of its checkpoint. */
  readonly folder: string;
  /** Its checkpoint, if it is not in the folder. */
  readonly file?: { readonly path: string; open(options?: BlockOptions): Checkpoint } | null | undefined;
  /** Its name in messages and progress. */
  readonly name: string;
  /** Makes the module, without weights. */
  readonly build: () => M;
  /** The module's name for a tensor of the checkpoint; null for a tensor that it does not use. */
  readonly rename?: (key: string) => string | null;
  /** mflux's names of its tensors, if they differ from those of a checkpoint. */
  readonly savedNames?: SavedNames;
  /** The variant of the weights to prefer: the middle of `model.fp16.safetensors`. */
  readonly variant?: string | undefined;
  /** Dtype of the parameters. */
  readonly dtype: DType;
  /** Keep 16-bit matrices as stored, even if `dtype` has more bits (default false). */
  readonly matricesAsStored?: boolean;
  /** Bits to quantize matrices to; null to keep them. Ignored if the checkpoint is already quantized. */
  readonly bits: Bits | null;
  /** The folder that a saved component was made from, to recover a tensor that saving lost. */
  readonly original?: string | null;
  /**
   * How much freed memory MLX may keep for new buffers while quantizing; if null or absent, MLX's own limit applies.
   */
  readonly bufferCache?: BufferLimits | null | undefined;
  readonly prepare?: Preparation<M> | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** Limits of MLX's cache of freed buffers, in bytes. */
export interface BufferLimits {
  /** While tensors are being read and quantized, one after another. */
  readonly quantizing: number;
}

/** One tensor of a checkpoint as parameters: a matrix may become three. All arrays are lazy and belong to the receiver. */
export interface DeliveredTensor {
  /** The module's name for the tensor: "blocks.0.attn.weight". */
  readonly key: string;
  readonly parameters: Readonly<Record<string, MxArray>>;
  /** Whether all values of the tensor, as stored, are finite. Quantizing hides those that are not. */
  readonly finite: MxArray;
}

/** Sizes in bytes. */
export interface HeldSize {
  /** Size of all parameters. */
  readonly bytes: number;
  /** Additional memory while reading: tensors being converted, the next ones being read, and freed buffers. */
  readonly reading: number;
}

/** A network whose weights are read when they are first needed and can be freed between uses. */
export class Component<M extends Module> {
  readonly #options: ComponentOptions<M>;
  /** Sizes computed so far, by bits. */
  readonly #sizes = new Map<Bits | null, HeldSize>();
  #module: M | null = null;
  #loading: { readonly ended: Promise<void>; readonly controller: AbortController } | null = null;

  constructor(options: ComponentOptions<M>) {
    this.#options = options;
  }

  /** The file or the folder of its weights, for messages. */
  get source(): string {
    return this.#options.file?.path ?? this.#options.folder;
  }

  /**
   * Returns the module with its weights. They are read off the event loop, once for overlapping calls.
   * @throws {ModelError} if they are missing, damaged, or do not fit the config.
   * @throws the reason of `signal` when it aborts; the weights read so far are then freed.
   */
  async get(signal?: AbortSignal): Promise<M> {
    for (;;) {
      signal?.throwIfAborted();
      if (this.#module) return this.#module;
      if (!this.#loading) break;
      await untilAborted(this.#loading.ended, signal);
    }
    const controller = new AbortController();
    const given = AbortSignal.any([controller.signal, ...(signal ? [signal] : [])]);
    const loading = this.#load(given);
    const ended = loading.then(
      () => {},
      () => {},
    );
    this.#loading = { ended, controller };
    try {
      const module = await loading;
      if (given.aborted) module.dispose();
      given.throwIfAborted();
      this.#module = module;
      return module;
    } finally {
      this.#loading = null;
    }
  }

  /**
   * Computes the memory of the weights from file headers only, including the growth by `prepare`. Keeps the result, and
   * notices changes to the files only when {@link get} reads the weights again.
   * @param bits replaces the component's own option.
   * @throws {ModelError} if the files are missing or damaged.
   */
  size(bits: Bits | null = this.#options.bits): HeldSize {
    const size = this.#sizes.get(bits) ?? this.#measure(this.#open(bits), bits);
    this.#sizes.set(bits, size);
    return size;
  }

  #measure(checkpoint: Checkpoint, bits: Bits | null): HeldSize {
    const { dtype, matricesAsStored = false, rename = (key) => key } = this.#options;
    const quantized = bitsToQuantize(checkpoint, bits);
    const cached = quantized === null ? 0 : (this.#options.bufferCache?.quantizing ?? 0);
    let [total, largest] = [this.#options.prepare?.bytes ?? 0, Math.max(batchBytes, checkpoint.largest ?? 0)];
    for (const [name, { dtype: stored, shape, bytes }] of checkpoint.entries) {
      if (rename(name) === null) continue;
      total += heldBytes({ name, stored, shape }, dtype, quantized, matricesAsStored);
      largest = Math.max(largest, bytes);
    }
    // Tensors that grow while being read may take more than the whole file.
    const most = checkpoint.largest === undefined ? checkpoint.bytes : Number.POSITIVE_INFINITY;
    const reading = Math.min(2 * largest + cached, most);
    return { bytes: total, reading: Math.max(reading, this.#options.prepare?.working ?? 0) };
  }

  /** Frees the weights; the next {@link get} reads them again. A {@link get} in progress rejects. */
  free(): void {
    this.#loading?.controller.abort(new Error(`the weights of ${this.#options.name} have been freed`));
    if (!this.#module) return;
    this.#module.dispose();
    this.#module = null;
    memory.clearCache();
  }

  /**
   * Passes the parameters to `take`, lazy and in the module's form, without keeping any. Merges what `prepare` can
   * merge.
   * @throws like {@link get}.
   */
  async deliver(take: (tensor: DeliveredTensor) => void, signal: AbortSignal): Promise<void> {
    using module = this.#options.build();
    const checkpoint = this.#open();
    const options = weightOptions({ ...this.#options, matricesAsStored: false }, checkpoint);
    const checks = new Map<string, MxArray>();
    const stored = (): Iterable<NamedTensor> => storedTensors(checkpoint, options);
    const changes = await this.#options.prepare?.merging?.(module, signal, stored, checkpoint.source);
    try {
      await loadWeights(module, checkpoint, {
        ...options,
        ...(changes && { change: (key, tensor) => changes.change(key, tensor) }),
        onTensor: (key, tensor) => checks.set(key, allFinite(tensor)),
        deliver(key, parameters) {
          const finite = checks.get(key)!;
          checks.delete(key);
          take({ key, parameters, finite });
        },
      });
      changes?.requireAllUsed();
    } finally {
      for (const finite of checks.values()) finite.dispose();
    }
  }

  /** @param blockBits the bits of matrices of blocks; null for values. */
  #open(blockBits: Bits | null = null): Checkpoint {
    const { folder, file, variant } = this.#options;
    const checkpoint =
      file?.open({ blockBits }) ?? openCheckpoint(folder, { variant: variantIn(folder, variant) });
    checkScales(checkpoint);
    return checkpoint;
  }

  /** @throws {OptionError} if the network grows by more than the preparation announced. */
  async #prepare(module: M, signal: AbortSignal, stored: () => Iterable<NamedTensor>): Promise<void> {
    const { name, prepare } = this.#options;
    if (!prepare) return;
    const before = bytesIn(module);
    await prepare.apply(module, signal, stored);
    const added = bytesIn(module) - before;
    if (added > prepare.bytes)
      throw new OptionError(
        "prepare",
        `prepare adds ${added} bytes to ${name}, but announces ${prepare.bytes}; set bytes to at least ${added}.`,
      );
  }

  async #load(signal: AbortSignal): Promise<M> {
    const { name, build, bits, onProgress } = this.#options;
    const checkpoint = this.#open(bits);
    // The files may have changed since the sizes were computed.
    this.#sizes.clear();
    this.#sizes.set(bits, this.#measure(checkpoint, bits));
    const { bytes } = checkpoint;
    const started = performance.now();
    let bytesDone = 0;
    const report = (state: LoadProgress["state"], seconds?: number): void =>
      onProgress?.({ component: name, state, bytes, bytesDone, ...(seconds !== undefined && { seconds }) });
    report("start");
    const module = build();
    const options = weightOptions(this.#options, checkpoint);
    const { bufferCache } = this.#options;
    // Keep buffers of quantized tensors for the next ones.
    using _cache = options.quantization && bufferCache ? memory.keepBuffers(bufferCache.quantizing) : null;
    await loadWeights(module, checkpoint, {
      ...options,
      signal,
      onBytes: (count) => {
        bytesDone += count;
        report("read");
      },
    });
    try {
      // Adapters need the unquantized values.
      await this.#prepare(module, signal, () => storedTensors(this.#open(), options));
    } catch (error) {
      module.dispose();
      throw error;
    }
    bytesDone = bytes;
    report("end", (performance.now() - started) / 1000);
    return module;
  }
}

function* storedTensors(
  checkpoint: Checkpoint,
  options: Parameters<typeof namedTensors>[1],
): Generator<NamedTensor, void> {
  for (const [, key, tensor] of namedTensors(checkpoint, options)) yield [key, tensor];
}

/** Bytes of a network's parameters and adapters. */
function bytesIn(network: Module): number {
  let bytes = 0;
  for (const [, module] of network.modules()) {
    for (const [, { nbytes }] of module.ownParameters()) bytes += nbytes;
    if (module instanceof Linear) for (const adapter of module.adapters) bytes += adapter.nbytes;
  }
  return bytes;
}

/** The bits to which a checkpoint's matrices are quantized on reading; null if it is already quantized. */
const bitsToQuantize = (checkpoint: Checkpoint, bits: Bits | null): Bits | null =>
  checkpoint.hasQuantizedBlocks || storedBits(checkpoint) !== null ? null : bits;

/** Options for loading a component's weights. A checkpoint that is already quantized is not quantized further. */
function weightOptions<M extends Module>(
  { dtype, matricesAsStored, bits, rename, savedNames, original }: ComponentOptions<M>,
  checkpoint: Checkpoint,
): NonNullable<Parameters<typeof loadWeights>[2]> {
  const quantized = bitsToQuantize(checkpoint, bits);
  return {
    dtype,
    ...(matricesAsStored && { matrices: "stored" }),
    ...(quantized !== null && { quantization: { bits: quantized } }),
    ...(rename && { rename }),
    ...(savedNames && { savedNames }),
    ...(original && { original: openCheckpoint(original) }),
  };
}

/**
 * Whether all values are finite, lazily. Checks their sum, which is five times as fast as checking each value: any
 * value that is not finite makes the sum so. Finite values whose sum exceeds float32 are useless as well.
 */
const allFinite = (tensor: MxArray): MxArray =>
  scope(() => isfinite(sum(tensor.dtype === "float16" ? astype(tensor, "float32") : tensor)));

/** Bytes of one floating-point value. */
export const bytesPerValue = (dtype: DType): number => (dtype === "float32" ? 4 : 2);

/**
 * Bytes of a checkpoint's tensor as a parameter: floats have `dtype`, except that matrices may keep fewer bits as stored;
 * matrices are quantized if `bits` is given.
 */
function heldBytes(
  { name, stored, shape }: { name: string; stored: string; shape: readonly number[] },
  dtype: DType,
  bits: Bits | null,
  matricesAsStored: boolean,
): number {
  const elements = shape.reduce((product, n) => product * n, 1);
  if (stored === "U32") return 4 * elements;
  const ofMatrix = shape.length === 2 && /\.(weight|scales|biases)$/.test(name);
  const narrow = matricesAsStored && ofMatrix && (stored === "BF16" || stored === "F16");
  const width = narrow ? 2 : bytesPerValue(dtype);
  const matrix = ofMatrix && name.endsWith(".weight") && shape[1]! % savedGroupSize === 0;
  if (bits === null || !matrix) return width * elements;
  return (elements * bits) / 8 + (2 * width * elements) / savedGroupSize;
}
