import { join } from "node:path";
import {
  add,
  array,
  arraysIn,
  astype,
  backend,
  concatenate,
  type DeviceType,
  defaultDevice,
  evaluate,
  isAvailable,
  type MxArray,
  memory,
  multiply,
  scope,
  setDefaultDevice,
  setThreads,
  subtract,
} from "@mflux-depth/mlx";
import { runStages } from "@mflux-depth/mlx/nn";
import { untilAborted } from "../abort.js";
import { describeBytes } from "../bytes.js";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator, EstimateOptions } from "../depth/estimator.js";
import { obtainEstimator } from "../depth/open.js";
import { ModelError, OptionError } from "../errors.js";
import type { DownloadProgress } from "../hub/obtain.js";
import { type Repository, resolveRepository } from "../hub/repository.js";
import { readDepthMap, readPhoto } from "../images/decode.js";
import { toBytes, toModelInput } from "../images/model-input.js";
import type { FloatImage } from "../images/types.js";
import {
  type MemoryPlan,
  machineMemory,
  type PlanRequest,
  planMemory,
  planRequest,
  requireFit,
  restingCacheBytes,
  roomLeft,
  stepCacheBytes,
} from "../memory/plan.js";
import { reductionOf, scaleLatents, unscaleLatents } from "../models/autoencoder.js";
import { type RotaryTables, rotaryTables } from "../models/flux-transformer.js";
import {
  type GenerateRequest,
  type ImageInput,
  type LoadOptions,
  loadOptions,
  type ResolvedLoadOptions,
  type ResolvedRequest,
  refuseUnknown,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import {
  type Grid,
  noised,
  noiseOf,
  pack,
  packData,
  unpack,
  unpackChannelsFirst,
} from "../sampling/latents.js";
import { modelTime, sigmas, startIndex, stepSize } from "../sampling/schedule.js";
import { ClipTokenizer } from "../tokenizers/clip.js";
import { T5Tokenizer } from "../tokenizers/t5.js";
import { packageVersion } from "../version.js";
import type { LoadProgress } from "../weights/component.js";
import { DepthSource, type Pictures } from "./depth-source.js";
import { type GenerationEvent, Held, type Run, StageClock, type StepEvent, Warnings } from "./generation.js";
import type { PictureParameters } from "./metadata.js";
import { bitsNote, findModel, openParts, type Parts } from "./parts.js";
import { GenerationResult, type Latents, type Picture } from "./result.js";

export type { GenerationEvent, Stage, StepEvent } from "./generation.js";

export interface FluxDepthOptions extends LoadOptions {
  /** Told how a download goes on, and the reading of weights, during generations too. */
  readonly onProgress?: ((progress: LoadProgress | DownloadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateOptions extends GenerateRequest {
  /** Ends the generation within milliseconds; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * FLUX.1 Depth: pictures from a prompt and a depth map.
 *
 * Weights are read when a stage first needs them. Generations of one instance run one after another, in the order
 * of the calls.
 */
export class FluxDepth {
  /** Where the weights are. */
  readonly model: Repository;
  readonly options: ResolvedLoadOptions;
  /** One sentence for each thing about the model that is not quite as asked. */
  readonly notes: readonly string[];
  readonly #parts: Parts;
  readonly #depth: DepthSource;
  readonly #lifetime = new AbortController();
  /** Ends when the last generation asked for has ended. */
  #queue: Promise<void> = Promise.resolve();
  /** What the last prompt became, kept when memory is "resident". */
  #prompt: { readonly key: string; readonly encoded: EncodedText } | null = null;

  private constructor(
    model: Repository,
    options: ResolvedLoadOptions,
    parts: Parts,
    notes: readonly string[],
    onProgress: FluxDepthOptions["onProgress"],
  ) {
    this.model = model;
    this.options = options;
    this.notes = notes;
    this.#parts = parts;
    this.#depth = new DepthSource({ ...options, model, onLoad: parts.onProgress, onDownload: onProgress });
  }

  /**
   * Finds a model, downloads what is missing of it, and checks that it is FLUX.1 Depth. Its weights are read later.
   * @throws {OptionError} for an option's value, or a device that is not here.
   * @throws {ModelError} when the model is not there, is another one, cannot be downloaded, or its configs are damaged.
   */
  static async load(given: FluxDepthOptions = {}): Promise<FluxDepth> {
    const { onProgress, signal, ...rest } = given;
    refuseUnknown(Object.keys(rest), Object.keys(loadOptions));
    const options = resolveLoadOptions(rest);
    signal?.throwIfAborted();
    const { model, files } = await findModel(options, { signal, onProgress });
    const device = chooseDevice(options.device);
    if (options.threads !== undefined) shareAmong(options.threads, device);
    if (options.cacheLimitGb !== undefined) memory.setCacheLimit(Math.round(options.cacheLimitGb * 1e9));
    const parts = openParts(files, options, device, onProgress);
    const notes = [...files.notes, ...bitsNote(files.storedBits, rest.quantize)];
    return new FluxDepth(model, options, parts, notes, onProgress);
  }

  /**
   * Makes a picture.
   * @param given.onStep told after each denoising step.
   * @throws {OptionError} for a value that cannot be, before any work.
   * @throws {ImageError} when a picture cannot be read.
   * @throws {ModelError} when weights do not load.
   */
  async generate(
    given: GenerateOptions & { readonly onStep?: ((step: StepEvent) => void) | undefined },
  ): Promise<GenerationResult> {
    const { onStep, ...request } = given;
    for await (const event of this.steps(request)) {
      if (event.type === "step") onStep?.(event);
      if (event.type === "result") return event.result;
    }
    throw new Error("the generation ended without a result");
  }

  /**
   * Makes a picture and reports each stage and step; the last event has the result. Leaving the loop early ends the
   * generation.
   * @param given.previewEvery how many steps apart events carry a preview, the picture as far as the model knows it;
   * 0, the default, for none. Each costs a decoding.
   * @param given.withLatents whether steps carry their latents; false by default.
   * @throws as {@link generate}.
   */
  async *steps(
    given: GenerateOptions & {
      readonly previewEvery?: number | undefined;
      readonly withLatents?: boolean | undefined;
    },
  ): AsyncGenerator<GenerationEvent, void, void> {
    const { signal, previewEvery = 0, withLatents = false, ...rest } = given;
    refuseUnknown(Object.keys(rest), Object.keys(requestOptions));
    const request = resolveRequest(rest);
    const grid = gridOf(request, this.#parts);
    checkLatents(request, grid);
    const ended = this.#untilDisposed(signal);
    const leave = await this.#enter(ended);
    const arrays = new Held();
    try {
      yield* this.#run({
        request,
        grid,
        previewEvery,
        withLatents,
        signal: ended,
        arrays,
        clock: new StageClock(this.#parts),
        warnings: new Warnings([...this.notes, ...request.warnings]),
      });
    } finally {
      arrays[Symbol.dispose]();
      this.#depth.free();
      if (this.options.memory === "low") this.#free();
      memory.clearCache();
      leave();
    }
  }

  /**
   * Estimates the depth of a photo, with the field of view where the model can.
   * @throws {ImageError} when the photo cannot be read.
   * @throws {ModelError} when Depth Pro is not there or does not load.
   */
  async estimateDepth(photo: ImageInput, options: EstimateOptions = {}): Promise<DepthEstimate> {
    const signal = this.#untilDisposed(options.signal);
    const leave = await this.#enter(signal);
    try {
      const estimator = await this.#depth.find(signal);
      return await estimator.estimate(photo, { ...options, signal });
    } finally {
      this.#depth.free();
      memory.clearCache();
      leave();
    }
  }

  /** Releases all weights; a generation in progress ends with an error. */
  dispose(): void {
    this.#lifetime.abort(new Error("this FluxDepth has been disposed"));
    this.#free();
    memory.clearCache();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #untilDisposed(signal: AbortSignal | undefined): AbortSignal {
    return AbortSignal.any([this.#lifetime.signal, ...(signal ? [signal] : [])]);
  }

  /** Waits for the generations before; returns what lets the next one in. */
  async #enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const before = this.#queue;
    let leave = (): void => {};
    const mine = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.#queue = before.then(() => mine);
    try {
      await untilAborted(before, signal);
    } catch (error) {
      leave();
      throw error;
    }
    return leave;
  }

  #free(): void {
    for (const part of [this.#parts.clip, this.#parts.t5, this.#parts.autoencoder, this.#parts.transformer])
      part.free();
    this.#depth.free();
    this.#forgetPrompt();
  }

  async *#run(run: Run): AsyncGenerator<GenerationEvent, void, void> {
    const { request, grid, arrays, clock } = run;
    const low = this.options.memory === "low";
    // Whatever is wrong with the pictures shows before anything long begins.
    const pictures = await this.#readPictures(run);
    this.#checkMemory(run);
    yield* run.warnings.report();

    yield clock.start("text");
    const text = await this.#encodeText(run);
    yield clock.end("text");
    yield* run.warnings.report();

    const depth = yield* this.#depth.map(pictures, run, (estimator) => this.#fits(estimator, request));
    yield* run.warnings.report();

    yield clock.start("control");
    const control = await this.#encodePicture(depth, run);
    yield clock.end("control");

    const first = startIndex(request.steps, request.imageStrength);
    const levels = sigmas(request.steps, grid.rows * grid.columns, this.#parts.schedule);
    const start = yield* this.#startLatents(pictures.photo, levels[first]!, run);
    if (low && run.previewEvery === 0) this.#parts.autoencoder.free();

    const latents = yield* this.#denoise({ start, control, text }, levels.subarray(first), run);
    arrays.free([control]);
    if (low) this.#parts.transformer.free();

    yield clock.start("decode");
    const image = await this.#decode(latents, run);
    const finished = await this.#toLatents(latents, run);
    yield clock.end("decode");

    const timings = clock.seconds;
    const result = new GenerationResult({
      image,
      latents: finished,
      depthMap: depth,
      metadata: this.#metadata(pictures, text.prompt.shape[1]!, timings, request),
      timings,
      warnings: run.warnings.all,
    });
    yield { type: "result", result };
  }

  /** @throws {MemoryError} when the generation would not fit, unless that is forced. */
  #checkMemory({ request, previewEvery, warnings }: Run): void {
    const plan = this.#plan(
      planRequest(request, previewEvery > 0),
      request.depthImage === undefined ? this.#depth.estimator : null,
    );
    if (!this.options.force) requireFit(plan);
    else if (!plan.fits)
      warnings.add(
        `This may need ${describeBytes(plan.peak)} of memory, and ${describeBytes(plan.machine.available)} are available.`,
      );
  }

  /** Whether there is room to infer depth. */
  #fits(estimator: DepthEstimator, request: ResolvedRequest): boolean {
    const { stages, machine } = this.#plan({ ...planRequest(request), infersDepth: true }, estimator);
    return stages.find(({ stage }) => stage === "depth")!.peak <= machine.available;
  }

  #plan(request: PlanRequest, depth: DepthEstimator | null): MemoryPlan {
    const device = defaultDevice();
    return planMemory(this.#parts, this.options, request, { device, machine: machineMemory(device), depth });
  }

  /** The pictures that are used: a map, or a photo to infer one from; a photo to start from. */
  async #readPictures({ request, warnings, signal }: Run): Promise<Pictures> {
    const { image, depthImage, imageStrength } = request;
    const map =
      depthImage === undefined ? null : await readDepthMap(depthImage, { invert: request.invertDepth });
    const photo = image !== undefined && (!map || imageStrength > 0) ? await readPhoto(image) : null;
    for (const picture of [map, photo]) warnings.add(...(picture?.warnings ?? []));
    if (!map) await this.#depth.find(signal);
    return { map, photo };
  }

  /** Noise, or the photo under as much of it as the first step expects: `[1, rows·columns, 4·channels]` float32. */
  async *#startLatents(
    photo: FloatImage | null,
    sigma: number,
    run: Run,
  ): AsyncGenerator<GenerationEvent, MxArray, void> {
    const { request, grid, arrays, signal, clock } = run;
    const noise = arrays.keep(
      request.latents ? packData(request.latents, grid) : noiseOf(request.seed, grid),
    );
    if (!photo || request.imageStrength === 0) return noise;
    yield clock.start("image");
    const picture = await this.#encodePicture(photo, run);
    const start = arrays.keep(noised(picture, noise, sigma));
    await evaluate(start, { signal });
    arrays.free([picture, noise]);
    yield clock.end("image");
    return start;
  }

  /** Euler's method from the first noise level to the last; frees the latents it starts from. */
  async *#denoise(
    { start, control, text }: { start: MxArray; control: MxArray; text: EncodedText },
    levels: Float32Array,
    run: Run,
  ): AsyncGenerator<GenerationEvent, MxArray, void> {
    const { grid, arrays, signal, clock, previewEvery, withLatents } = run;
    yield clock.start("denoise");
    const textTokens = text.prompt.shape[1]!;
    const rotary = arrays.keep(rotaryTables(this.#parts.transformerConfig, { ...grid, textTokens }));
    await this.#parts.transformer.get(signal);
    // Only now: what reading weights frees is not used again.
    using _cache = this.#keepBuffers();
    let latents = start;
    const total = levels.length - 1;
    for (let step = 0; step < total; step++) {
      const started = performance.now();
      const [sigma, next] = [levels[step]!, levels[step + 1]!];
      const velocity = arrays.keep(await this.#velocity({ latents, control, rotary, text }, sigma, run));
      const moved = arrays.keep(scope(() => add(latents, multiply(velocity, stepSize(sigma, next)))));
      await evaluate(moved, { signal });
      arrays.free([latents]);
      latents = moved;
      const seconds = (performance.now() - started) / 1000;

      let preview: Picture | undefined;
      if (previewEvery > 0 && (step + 1) % previewEvery === 0 && step + 1 < total) {
        const expected = arrays.keep(scope(() => subtract(latents, multiply(velocity, next))));
        preview = await this.#decode(expected, run);
        arrays.free([expected]);
      }
      arrays.free([velocity]);
      yield {
        type: "step",
        index: step + 1,
        total,
        sigma,
        seconds,
        ...(preview && { preview }),
        ...(withLatents && { latents: await this.#toLatents(latents, run) }),
      };
    }
    arrays.free([rotary]);
    yield clock.end("denoise");
    return latents;
  }

  /** Lets MLX keep what a block frees for the next one, until it is disposed of. */
  #keepBuffers(): Disposable | null {
    return defaultDevice() === "cpu" && this.options.cacheLimitGb === undefined
      ? memory.keepBuffers(stepCacheBytes(), restingCacheBytes)
      : null;
  }

  /** The prompt as the transformer takes it; in "resident" mode the last one is kept. */
  async #encodeText({ request, arrays, signal, warnings }: Run): Promise<EncodedText> {
    const { prompt, maxSequenceLength } = request;
    const { folder } = this.model;
    const clipTokens = (await ClipTokenizer.load(join(folder, "tokenizer"))).encode(prompt);
    const t5Tokens = (await T5Tokenizer.load(join(folder, "tokenizer_2"), { maxSequenceLength })).encode(
      prompt,
    );
    for (const [name, { ids, truncated }] of [
      ["CLIP", clipTokens],
      ["T5", t5Tokens],
    ] as const)
      if (truncated !== null)
        warnings.add(
          `The prompt is longer than the ${ids.length} tokens that ${name} reads; cut: "${truncated}".`,
        );

    const key = JSON.stringify([prompt, t5Tokens.ids.length]);
    if (this.#prompt?.key === key) return this.#prompt.encoded;

    const { clip, t5 } = this.#parts;
    const low = this.options.memory === "low";
    const clipEncoder = await clip.get(signal);
    const pooled = arrays.keep(await runStages(clipEncoder.stages(clipTokens.ids), { signal }));
    if (low) clip.free();
    const t5Encoder = await t5.get(signal);
    const embedded = arrays.keep(await runStages(t5Encoder.stages(t5Tokens.ids), { signal }));
    if (low) t5.free();
    const encoded = { pooled, prompt: embedded };
    if (!low) {
      this.#forgetPrompt();
      this.#prompt = { key, encoded: arrays.release(encoded) };
    }
    return encoded;
  }

  #forgetPrompt(): void {
    for (const one of arraysIn(this.#prompt?.encoded)) one.dispose();
    this.#prompt = null;
  }

  /** A picture, stretched to the size → tokens `[1, rows·columns, 4·channels]` as the transformer sees them. */
  async #encodePicture(picture: FloatImage, { request, grid, arrays, signal }: Run): Promise<MxArray> {
    const { width, height } = request;
    const autoencoder = await this.#parts.autoencoder.get(signal);
    using pixels = array(toModelInput(picture, width, height), { shape: [1, height, width, 3] });
    using mode = await runStages(autoencoder.encodeStages(pixels, roomLeft()), { signal });
    const tokens = arrays.keep(
      scope(() => pack(scaleLatents(astype(mode, "float32"), autoencoder.config), grid)),
    );
    await evaluate(tokens, { signal });
    return tokens;
  }

  /** What the transformer says at a noise level, float32 `[1, rows·columns, 4·channels]`. */
  async #velocity(
    inputs: { latents: MxArray; control: MxArray; rotary: RotaryTables; text: EncodedText },
    sigma: number,
    { request, signal }: Run,
  ): Promise<MxArray> {
    const { latents, control, rotary, text } = inputs;
    const transformer = await this.#parts.transformer.get(signal);
    using hiddenStates = concatenate([latents, control], -1);
    using velocity = await runStages(
      transformer.stages({
        hiddenStates,
        encoderHiddenStates: text.prompt,
        pooledProjections: text.pooled,
        timestep: modelTime(sigma, this.#parts.schedule),
        guidance: request.guidance,
        rotary,
      }),
      { signal },
    );
    return astype(velocity, "float32");
  }

  /** Tokens as the transformer sees them → the picture. */
  async #decode(tokens: MxArray, { grid, arrays, signal }: Run): Promise<Picture> {
    const autoencoder = await this.#parts.autoencoder.get(signal);
    const latents = arrays.keep(scope(() => unscaleLatents(unpack(tokens, grid), autoencoder.config)));
    const pixels = await runStages(autoencoder.decodeStages(latents, roomLeft()), { signal });
    arrays.free([latents]);
    const [, height, width] = pixels.shape as [number, number, number, number];
    return { data: toBytes(await this.#toFloats(pixels, signal)), width, height };
  }

  /** Tokens in PyTorch's layout. */
  async #toLatents(tokens: MxArray, { grid, signal }: Run): Promise<Latents> {
    const data = await this.#toFloats(unpackChannelsFirst(tokens, grid), signal);
    return { data, shape: [1, grid.channels, 2 * grid.rows, 2 * grid.columns] };
  }

  /** The values of an array, which is released. */
  async #toFloats(values: MxArray, signal: AbortSignal): Promise<Float32Array> {
    using source = values;
    using floats = astype(source, "float32");
    await evaluate(floats, { signal });
    return floats.toTypedArray() as Float32Array;
  }

  #metadata(
    { map, photo }: Pictures,
    textTokens: number,
    timings: Readonly<Record<string, number>>,
    request: ResolvedRequest,
  ): PictureParameters {
    const { load: _, ...stages } = timings;
    return {
      mflux_depth_version: packageVersion(),
      model: this.model.name,
      revision: this.model.revision ?? null,
      prompt: request.prompt,
      seed: request.latents ? null : request.seed,
      steps: request.steps,
      guidance: request.guidance,
      width: request.width,
      height: request.height,
      max_sequence_length: textTokens,
      quantize: this.#parts.bits,
      int8: this.#parts.int8,
      precision: this.#parts.dtype,
      device: defaultDevice(),
      image_path: photo && typeof request.image === "string" ? request.image : null,
      image_sha256: photo?.sha256 ?? null,
      image_strength: request.imageStrength > 0 ? request.imageStrength : null,
      depth_image_path: typeof request.depthImage === "string" ? request.depthImage : null,
      depth_image_sha256: map?.sha256 ?? null,
      depth_inverted: map !== null && request.invertDepth,
      depth_source: map ? "map" : "photo",
      depth_model: map ? null : this.#depth.name,
      mlx_version: backend().version,
      generation_time_seconds: Object.values(stages).reduce((sum, seconds) => sum + seconds, 0),
      stage_seconds: stages,
      created_at: new Date().toISOString(),
    };
  }
}

/**
 * Estimates the memory of a generation, loading and downloading nothing.
 * @returns the plan, with one sentence for each thing that could not be looked at.
 * @throws {OptionError} for a device that is not here.
 * @throws {ModelError} when the model is not on this machine, is another one, or is damaged.
 */
export async function planModel(
  options: ResolvedLoadOptions,
  request: ResolvedRequest,
): Promise<MemoryPlan & { readonly notes: readonly string[] }> {
  // Says how to get a model that is not there, where the offline search would say why it is not fetched.
  resolveRepository(options.model, { revision: options.revision });
  const { model, files } = await findModel({ ...options, offline: true });
  const device = chooseDevice(options.device);
  const parts = openParts(files, options, device, undefined);
  gridOf(request, parts);
  const notes: string[] = [];
  let depth: DepthEstimator | null = null;
  if (request.depthImage === undefined)
    try {
      const { depthModel } = options;
      depth = await obtainEstimator({ depthModel, fluxFolder: model.folder, offline: true });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      notes.push(`The stage depth is left out: ${error.message}`);
    }
  const plan = planMemory(parts, options, planRequest(request), {
    device,
    machine: machineMemory(device),
    depth,
  });
  return { ...plan, notes };
}

/** A prompt as the transformer takes it. */
interface EncodedText {
  /** `[1, channels]`. */
  readonly pooled: MxArray;
  /** `[1, tokens, channels]`. */
  readonly prompt: MxArray;
}

/** @throws {OptionError} when this machine has no such device. */
function chooseDevice(asked: DeviceType | undefined): DeviceType {
  if (asked === undefined) return defaultDevice();
  if (!isAvailable(asked))
    throw new OptionError(
      "device",
      `device is ${asked}, which this MLX (${backend().name}) does not have here.`,
    );
  setDefaultDevice(asked);
  return asked;
}

function shareAmong(threads: number, device: DeviceType): void {
  if (device !== "cpu" || process.platform !== "linux")
    throw new OptionError("threads", "threads needs Linux and the CPU as device; leave it out here.");
  setThreads(threads);
}

function gridOf({ width, height }: ResolvedRequest, { autoencoderConfig: config }: Parts): Grid {
  const pixelsOfToken = 2 * reductionOf(config);
  for (const [name, pixels] of Object.entries({ width, height }))
    if (pixels % pixelsOfToken !== 0)
      throw new OptionError(name, `${name} is ${pixels}; this model needs a multiple of ${pixelsOfToken}.`);
  return { rows: height / pixelsOfToken, columns: width / pixelsOfToken, channels: config.latentChannels };
}

function checkLatents({ latents }: ResolvedRequest, { rows, columns, channels }: Grid): void {
  const shape = [1, channels, 2 * rows, 2 * columns];
  const expected = shape.reduce((product, n) => product * n, 1);
  if (latents && latents.length !== expected)
    throw new OptionError(
      "latents",
      `latents has ${latents.length} values; for this size it needs ${expected}, [${shape.join(", ")}].`,
    );
}
