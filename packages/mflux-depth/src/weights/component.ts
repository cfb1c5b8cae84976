import { type Bits, type DType, memory } from "@mflux-depth/mlx";
import { batchBytes, type LoadOptions, type Module } from "@mflux-depth/mlx/nn";
import { untilAborted } from "../abort.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint.js";
import { loadWeights } from "./load.js";
import { savedGroupSize, storedBits } from "./mflux.js";
import { variantIn } from "./weight-files.js";

/** Weights are being read, or have been. */
export interface LoadProgress {
  /** The repository's folder of the component: "transformer". */
  readonly component: string;
  /** Between start and end, "read" comes each time that some more has been. */
  readonly state: "start" | "read" | "end";
  /** Size of the weights as stored. */
  readonly bytes: number;
  /** Read so far. */
  readonly bytesDone: number;
  /** How long reading took, at the end. */
  readonly seconds?: number;
}

export interface ComponentOptions<M extends Module> {
  /** The folder that holds the weights. */
  readonly folder: string;
  /** What messages call it. */
  readonly name: string;
  /** Makes the module without weights. */
  readonly build: () => M;
  /** The module's name of a tensor of the file; null for one that it has no use for. */
  readonly rename?: (key: string) => string | null;
  /** Of the weights, where there are several. */
  readonly variant?: string | undefined;
  readonly dtype: DType;
  /** Whether matrices keep the 16 bits that they are stored with where `dtype` has more (default false). */
  readonly matricesAsStored?: boolean;
  /** For what is not stored quantized. */
  readonly bits: Bits | null;
  /** The folder that a saved component was made from, for a tensor that got lost. */
  readonly original?: string | null;
  /** Of freed buffers, what MLX may keep for the next ones; MLX's limit stays as it is when absent. */
  readonly cacheLimit?: CacheLimit | undefined;
  /**
   * Changes the module between loading and its first use: attaches adapters, or replaces weights. The module is freed
   * when this throws.
   */
  readonly prepare?: ((module: M, signal: AbortSignal) => void | Promise<void>) | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** In bytes. */
export interface CacheLimit {
  /** While dense tensors are read and quantized, one after another. */
  readonly quantizing: number;
  /** Afterwards. */
  readonly resting: number;
}

/** Sizes in bytes. */
export interface HeldSize {
  /** Of all parameters. */
  readonly bytes: number;
  /** What reading them takes besides: tensors that are being converted, those read meanwhile, and freed buffers. */
  readonly reading: number;
}

/** A part of the model whose weights are read when it is first needed, and can be freed in between. */
export class Component<M extends Module> {
  readonly #options: ComponentOptions<M>;
  #module: M | null = null;
  #loading: { readonly ended: Promise<void>; readonly controller: AbortController } | null = null;

  constructor(options: ComponentOptions<M>) {
    this.#options = options;
  }

  /**
   * The module with its weights, which are read off the event loop. Calls that overlap read them once.
   * @throws {ModelError} when they are missing, damaged or do not fit the config.
   * @throws the reason of `signal` when it is aborted; what was read is then freed.
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
   * What the weights take when they are held, by the headers of their files: nothing else is read.
   * @param bits in place of the component's own.
   * @throws {ModelError} when the files are missing or damaged.
   */
  size(bits: Bits | null = this.#options.bits): HeldSize {
    const { folder, variant, dtype, matricesAsStored = false, rename = (key) => key } = this.#options;
    const checkpoint = openCheckpoint(folder, { variant: variantIn(folder, variant) });
    const quantized = storedBits(checkpoint) === null ? bits : null;
    const cached = quantized === null ? 0 : (this.#options.cacheLimit?.quantizing ?? 0);
    let [total, largest] = [0, batchBytes];
    for (const [name, { dtype: stored, shape, start, end }] of checkpoint.entries) {
      if (rename(name) === null) continue;
      total += heldBytes({ name, stored, shape }, dtype, quantized, matricesAsStored);
      largest = Math.max(largest, end - start);
    }
    return { bytes: total, reading: Math.min(2 * largest + cached, checkpoint.bytes) };
  }

  /** Releases the weights; the next {@link get} reads them again. One that is reading them rejects. */
  free(): void {
    this.#loading?.controller.abort(new Error(`the weights of ${this.#options.name} have been freed`));
    if (!this.#module) return;
    this.#module.dispose();
    this.#module = null;
    memory.clearCache();
  }

  /**
   * Gives the parameters to `take` as they would be held, lazily, and keeps nothing.
   * @throws as {@link get}.
   */
  async deliver(take: NonNullable<LoadOptions["deliver"]>): Promise<void> {
    const { folder, build, variant } = this.#options;
    using module = build();
    const checkpoint = openCheckpoint(folder, { variant: variantIn(folder, variant) });
    const options = weightOptions({ ...this.#options, matricesAsStored: false }, checkpoint);
    await loadWeights(module, checkpoint, { ...options, deliver: take });
  }

  async #load(signal: AbortSignal): Promise<M> {
    const { folder, name, build, variant, onProgress } = this.#options;
    const checkpoint = openCheckpoint(folder, { variant: variantIn(folder, variant) });
    const { bytes } = checkpoint;
    const started = performance.now();
    let bytesDone = 0;
    const report = (state: LoadProgress["state"], seconds?: number): void =>
      onProgress?.({ component: name, state, bytes, bytesDone, ...(seconds !== undefined && { seconds }) });
    report("start");
    const module = build();
    const options = weightOptions(this.#options, checkpoint);
    const { cacheLimit } = this.#options;
    // The next tensor gets the buffer of one that has been quantized.
    using _cache =
      options.quantization && cacheLimit
        ? memory.keepBuffers(cacheLimit.quantizing, cacheLimit.resting)
        : null;
    await loadWeights(module, checkpoint, {
      ...options,
      signal,
      onBytes: (count) => {
        bytesDone += count;
        report("read");
      },
    });
    try {
      await this.#options.prepare?.(module, signal);
    } catch (error) {
      module.dispose();
      throw error;
    }
    bytesDone = bytes;
    report("end", (performance.now() - started) / 1000);
    return module;
  }
}

/** How a component's weights are read: those that come quantized stay so, and nothing beside them is. */
function weightOptions<M extends Module>(
  { dtype, matricesAsStored, bits, rename, original }: ComponentOptions<M>,
  checkpoint: Checkpoint,
): NonNullable<Parameters<typeof loadWeights>[2]> {
  const quantize = bits !== null && storedBits(checkpoint) === null;
  return {
    dtype,
    ...(matricesAsStored && { matrices: "stored" }),
    ...(quantize && { quantization: { bits } }),
    ...(rename && { rename }),
    ...(original && { original: openCheckpoint(original) }),
  };
}

/** Bytes of one floating-point value. */
export const bytesPerValue = (dtype: DType): number => (dtype === "float32" ? 4 : 2);

/**
 * What a tensor of a file takes as a parameter: floats in `dtype` (matrices, where that is so, in fewer bits as stored),
 * matrices quantized where `bits` says so.
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
