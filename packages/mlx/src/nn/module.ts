import { isArray } from "../array.js";
import { MlxError } from "../errors.js";
import { evaluate } from "../evaluate.js";
import { type Bits, contiguous, transpose } from "../ops.js";
import { scope } from "../scope.js";
import type { DType, MxArray } from "../types.js";
import { castTo, isFloating } from "./floating.js";

export interface LayerQuantization {
  /** Bits per element. */
  bits: Bits;
  /** Number of neighbouring inputs that share a scale and a bias (default 64). */
  groupSize?: number;
}

export interface LoadOptions {
  /** Casts floating tensors to this dtype (default: as stored). */
  dtype?: DType;
  /**
   * "stored" keeps 16-bit matrices of Linear and Embedding (or their scales and biases, if quantized) as stored when
   * `dtype` is float32, and widens them on use; see {@link multipliesStored}. Default "cast".
   */
  matrices?: "cast" | "stored";
  /** Quantizes every Linear and Embedding whose input width the group size divides, while reading it. */
  quantization?: LayerQuantization;
  /** Whether to skip a key (as spelled in the file). */
  ignore?: (key: string) => boolean;
  /**
   * Receives each layer's parameters, lazy and converted, instead of the module; called once all tensors are known to
   * fit. The callback owns them. The module keeps its zeros.
   */
  deliver?: (key: string, parameters: Readonly<Record<string, MxArray>>) => void;
  /** Receives the keys (as spelled in the file) of tensors that have been read, a few at a time. */
  onRead?: (keys: readonly string[]) => void;
  /** Ends loading after the current operation; quantizing a tensor is one operation. */
  signal?: AbortSignal | undefined;
}

/** The tensor that a layer expects in a file for one of its parameters. */
export interface Slot {
  name: string;
  /** The shape in the layout of the file. */
  shape: readonly number[];
  kind: "floating" | "uint32";
}

export interface Misfit {
  /** The tensor's key in the file. */
  name: string;
  expected: string;
  found: string;
}

/** The tensors of a checkpoint do not match a module's parameters. */
export class LoadError extends MlxError {
  /** Paths of the parameters without a tensor. */
  readonly missing: readonly string[];
  /** Keys that match no parameter, or one that already has a tensor. */
  readonly unexpected: readonly string[];
  /** Tensors of a wrong shape or dtype. */
  readonly misshapen: readonly Misfit[];

  constructor(problems: { missing: string[]; unexpected: string[]; misshapen: Misfit[] }) {
    const { missing, unexpected, misshapen } = problems;
    const descriptions = [
      listed("missing", missing),
      listed("unexpected", unexpected),
      listed(
        "misshapen",
        misshapen.map((one) => `${one.name} is ${one.found}, expected ${one.expected}`),
      ),
    ];
    super("load", `the tensors do not fit the module: ${descriptions.filter(Boolean).join("; ")}`);
    this.missing = missing;
    this.unexpected = unexpected;
    this.misshapen = misshapen;
  }
}

const shownInMessages = 5;

function listed(what: string, names: readonly string[]): string {
  if (names.length === 0) return "";
  const shown = names.slice(0, shownInMessages).join(", ");
  const rest = names.length > shownInMessages ? `, and ${names.length - shownInMessages} more` : "";
  return `${names.length} ${what} (${shown}${rest})`;
}

/** A parameter and its tensor in the file. */
interface Match {
  layer: Module;
  name: string;
  key: string;
  tensor: MxArray;
}

/** {@link Module.load} reads tensors in batches of at most this many bytes; larger tensors are read one at a time. */
export const batchBytes = 2 ** 23;

function inBatches(matches: readonly Match[]): Match[][] {
  const batches: Match[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const match of matches) {
    bytes += match.tensor.nbytes;
    if (bytes > batchBytes) {
      batches.push([]);
      bytes = match.tensor.nbytes;
    }
    batches.at(-1)!.push(match);
  }
  return batches;
}

/** Converts the key of a file to a property path: `to_out.0.weight` → `toOut.0.weight`. It has no inverse. */
export const propertyPath = (key: string): string =>
  key.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/**
 * A layer or a tree of layers. Parameters and children are plain properties: arrays, modules, and lists of modules
 * (null for a gap in the list). Parameters start as lazy zeros, which take no memory.
 *
 * Subclasses define forward passes as ordinary methods.
 */
export abstract class Module {
  /** Iterates over this module (path "") and all below it, with their paths: `["transformerBlocks.0.attn", …]`. */
  *modules(path = ""): Generator<[path: string, module: Module]> {
    yield [path, this];
    for (const [name, value] of Object.entries(this)) {
      const here = path ? `${path}.${name}` : name;
      if (value instanceof Module) yield* value.modules(here);
      else if (Array.isArray(value))
        for (const [index, item] of value.entries())
          if (item instanceof Module) yield* item.modules(`${here}.${index}`);
    }
  }

  /** The parameters of this module and all below it by path, `transformerBlocks.0.attn.toQ.weight`. */
  parameters(): Map<string, MxArray> {
    const all = new Map<string, MxArray>();
    for (const [path, module] of this.modules())
      for (const [name, value] of module.ownParameters()) all.set(path ? `${path}.${name}` : name, value);
    return all;
  }

  /**
   * Loads the tensors of a checkpoint in PyTorch's layout; {@link propertyPath} maps their keys to paths. Checks all
   * names and shapes, in both directions, before reading anything. Then converts tensors one after another (small ones
   * together) off the event loop, releases each source, and reads the next one meanwhile.
   * Quantized matrices (a uint32 `weight` with `scales` and `biases`) stay quantized; their bits follow from the
   * shapes.
   *
   * Takes ownership of the tensors and disposes them. After an error, the module is also disposed. Do not call it
   * inside a scope, which cannot span an `await`.
   * @throws {LoadError} if tensors are missing, unexpected or misshapen.
   * @throws {MlxError} if a tensor cannot be read.
   * @throws the reason of `options.signal` after an abort.
   */
  async load(tensors: Iterable<readonly [string, MxArray]>, options: LoadOptions = {}): Promise<void> {
    const sources: MxArray[] = [];
    const delivered: MxArray[] = [];
    try {
      const matches = this.match(tensors, sources, options);
      if (options.deliver)
        for (const { layer, name, key, tensor } of matches) {
          const parameters = layer.prepared(name, tensor, options);
          delivered.push(...Object.values(parameters));
          options.deliver(key, parameters);
        }
      else await this.adoptAll(matches, options);
    } catch (error) {
      this.dispose();
      for (const source of sources) source.dispose();
      throw error;
    }
    const kept = new Set([...this.parameters().values(), ...delivered]);
    for (const source of sources) if (!kept.has(source)) source.dispose();
  }

  /**
   * Finds the tensor of each parameter without reading it. Adds all tensors to `sources`.
   * @throws {LoadError}
   */
  private match(
    tensors: Iterable<readonly [string, MxArray]>,
    sources: MxArray[],
    { ignore }: LoadOptions,
  ): Match[] {
    const found = new Map<string, { key: string; tensor: MxArray }>();
    const unexpected: string[] = [];
    for (const [key, tensor] of tensors) {
      sources.push(tensor);
      if (ignore?.(key)) continue;
      const path = propertyPath(key);
      if (found.has(path)) unexpected.push(key);
      else found.set(path, { key, tensor });
    }

    const missing: string[] = [];
    const misshapen: Misfit[] = [];
    const matches: Match[] = [];
    const wanted = new Set<string>();
    for (const [prefix, layer] of this.modules()) {
      const pathOf = (name: string): string => (prefix ? `${prefix}.${name}` : name);
      for (const slot of layer.slots((name) => found.get(pathOf(name))?.tensor)) {
        const path = pathOf(slot.name);
        const source = found.get(path);
        wanted.add(path);
        if (!source) missing.push(path);
        else if (!fits(source.tensor, slot)) misshapen.push(misfit(source.key, source.tensor, slot));
        else matches.push({ layer, name: slot.name, ...source });
      }
    }
    for (const [path, { key }] of found) if (!wanted.has(path)) unexpected.push(key);
    if (missing.length + unexpected.length + misshapen.length > 0)
      throw new LoadError({ missing, unexpected, misshapen });
    return matches;
  }

  private async adoptAll(matches: readonly Match[], options: LoadOptions): Promise<void> {
    const { signal, onRead } = options;
    signal?.throwIfAborted();
    const batches = inBatches(matches);
    for (const [index, batch] of batches.entries()) {
      const parameters = batch.map(({ layer, name, tensor }) => layer.adopt(name, tensor, options));
      const next = batches[index + 1]?.map(({ tensor }) => tensor);
      await evaluate([parameters, next], { signal });
      onRead?.(batch.map(({ key }) => key));
    }
  }

  /**
   * Quantizes every Linear and Embedding whose input width the group size divides, in place and one after another.
   * Leaves layers that are already quantized unchanged.
   * @param predicate selects layers
   */
  quantize(
    options: LayerQuantization,
    predicate: (path: string, layer: Module) => boolean = () => true,
  ): void {
    for (const [path, layer] of this.modules())
      if (layer.quantizable(options) && predicate(path, layer)) layer.quantizeParameters(options);
  }

  /** Releases the parameters of this module and all below it, and their adapters. The module is unusable afterwards. */
  dispose(): void {
    for (const [, module] of this.modules()) module.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The parameters of this module itself, without those of its children. */
  ownParameters(): [name: string, value: MxArray][] {
    return Object.entries(this).filter((entry): entry is [string, MxArray] => isArray(entry[1]));
  }

  /** Releases what this module itself owns. */
  protected release(): void {
    for (const [, parameter] of this.ownParameters()) parameter.dispose();
  }

  /** The permutation of a parameter's axes from the file to memory; null if they are the same. */
  protected axesInFile(_name: string): readonly number[] | null {
    return null;
  }

  /**
   * The tensors that this layer expects in a file. `stored` returns the tensor of the file for a name of this layer.
   */
  protected slots(_stored: (name: string) => MxArray | undefined): Slot[] {
    return this.ownParameters().map(([name, held]) => {
      const axes = this.axesInFile(name);
      const shape = [...held.shape];
      axes?.forEach((fileAxis, axis) => {
        shape[fileAxis] = held.shape[axis]!;
      });
      return { name, shape, kind: "floating" };
    });
  }

  /**
   * Makes a tensor of a file the parameter `name`: laid out, cast, perhaps quantized.
   * @returns the arrays to evaluate
   */
  protected adopt(name: string, tensor: MxArray, options: LoadOptions): MxArray[] {
    const parameters = this.prepared(name, tensor, options);
    for (const [own, value] of Object.entries(parameters)) this.replace(own, value);
    const held = Object.values(parameters);
    // The source must not outlive the evaluation.
    if (!held.includes(tensor)) tensor.dispose();
    return held;
  }

  /** Converts a tensor of a file to parameters, lazily; returns the tensor itself if it needs no change. */
  protected prepared(name: string, tensor: MxArray, options: LoadOptions): Record<string, MxArray> {
    const axes = this.axesInFile(name);
    return scope(() => {
      const laidOut = axes ? contiguous(transpose(tensor, axes)) : tensor;
      return { [name]: castTo(options.dtype, laidOut) };
    });
  }

  /** Replaces a parameter by another array (or null) and releases the old one. */
  replace(name: string, value: MxArray | null): void {
    const held = this as unknown as Record<string, MxArray | null>;
    const old = held[name];
    held[name] = value;
    if (old !== value) old?.dispose();
  }

  /** Whether {@link quantizeParameters} can quantize this layer. */
  protected quantizable(_options: LayerQuantization): boolean {
    return false;
  }

  protected quantizeParameters(_options: LayerQuantization): void {}
}

function fits(tensor: MxArray, slot: Slot): boolean {
  const kind = slot.kind === "uint32" ? tensor.dtype === "uint32" : isFloating(tensor.dtype);
  return (
    kind &&
    tensor.shape.length === slot.shape.length &&
    slot.shape.every((n, axis) => n === tensor.shape[axis])
  );
}

function misfit(name: string, tensor: MxArray, slot: Slot): Misfit {
  return {
    name,
    expected: `${slot.kind} [${slot.shape.join(", ")}]`,
    found: `${tensor.dtype} [${tensor.shape.join(", ")}]`,
  };
}
