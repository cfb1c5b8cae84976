import { memory } from "@mflux-depth/mlx";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator, EstimateOptions } from "../depth/estimator.js";
import { estimatorOptionsOf } from "../depth/options.js";
import { EngineError, OptionError } from "../errors.js";
import type { Repository } from "../hub/repository.js";
import type { DownloadProgress } from "../hub/transfer.js";
import type { DecodedImage } from "../images/types.js";
import { Listener } from "../listener.js";
import {
  checkOption,
  type GenerateRequest,
  type ImageInput,
  type LoadOptions,
  loadOptions,
  type ResolvedLoadOptions,
  refuseUnknown,
  requestOptions,
  requireOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import type { LoadProgress } from "../weights/component.js";
import { withAutoSize } from "./auto-size.js";
import { type Checkpoint, requireCheckpoint } from "./checkpoint.js";
import { hasRoom } from "./estimate-room.js";
import { type GenerationEvent, type PreviewKind, previewKinds, type StepEvent } from "./events.js";
import { LastArtifact } from "./last-artifact.js";
import { latentGridOf, requireLatentSize } from "./latent-grid.js";
import { blockNotesOf } from "./model/block-notes.js";
import { cacheLimitOf, computeSettingsOf } from "./model/device.js";
import { EstimatorSource } from "./model/estimator-source.js";
import { fingerprintOf } from "./model/fingerprint.js";
import { type LoraState, Loras } from "./model/loras.js";
import { findModel, openModel, type Preparations, quantizeNotes } from "./model/model.js";
import { noiseLevelsOf } from "./noise-levels.js";
import { FastPreviews } from "./previews/fast-previews.js";
import { PromptCache } from "./prompt-cache.js";
import { stagesOf } from "./recipe.js";
import type { GenerationResult } from "./result.js";
import { resultOf } from "./result-of.js";
import { runRecipe } from "./runner.js";
import { type AskedGeneration, type GenerationContext, setUp } from "./setup.js";
import type { Artifacts } from "./stage.js";
import { type ComputeSettings, enterWith } from "./turns/process-settings.js";
import { Queue } from "./turns/queue.js";
import { readAhead } from "./turns/read-ahead.js";
import { Turn } from "./turns/turn.js";

export interface FluxDepthOptions extends LoadOptions {
  /** Receives the progress of downloads and of reading weights, also during generations. */
  readonly onProgress?: ((progress: LoadProgress | DownloadProgress) => void) | undefined;
  /**
   * Changes the networks between loading their weights and their first use, by component: attaches adapters
   * (`Linear.attach` of `@mflux-depth/mlx/nn`), or replaces weights. The memory plan counts the bytes that they announce.
   */
  readonly prepare?: Preparations | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateOptions extends GenerateRequest {
  /** Ends the generation within milliseconds; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How a generation reports its steps. */
export interface StepOptions {
  /** The number of steps between previews; 0, the default, for none. */
  readonly previewEvery?: number | undefined;
  /** How previews are made; "exact", the default, takes as much time as decoding the image. */
  readonly previewKind?: PreviewKind | undefined;
  /** Whether step events carry the latents and the depth map (default false). */
  readonly withLatents?: boolean | undefined;
  /**
   * Continues a generation of the same request after a step: with the seed that it had, on an instance with the same
   * {@link FluxDepth.fingerprint}, the image is the same as without the interruption.
   */
  readonly resume?: Checkpoint | null | undefined;
}

/**
 * Depth-guided image generation: images from a prompt and a depth map, or a photo whose depth is estimated.
 *
 * Weights are read when a stage first needs them. Generations of one instance run one after another, in the order of
 * the calls. Instances compute at the same time if they have the same device, threads and cache limit; otherwise they
 * take turns.
 */
export class FluxDepth {
  /** The model's repository. */
  readonly model: Repository;
  readonly options: ResolvedLoadOptions;
  /** Differences from the requested model, one sentence each. */
  readonly notes: readonly string[];
  readonly #settings: ComputeSettings;
  /** The model, the depth estimator and the last prompt. */
  readonly #context: GenerationContext;
  readonly #queue = new Queue();
  /** The caller's `onProgress`. */
  readonly #progress: Listener<LoadProgress | DownloadProgress>;
  readonly #lifetime = new AbortController();

  private constructor(
    repository: Repository,
    settings: ComputeSettings,
    context: GenerationContext,
    progress: Listener<LoadProgress | DownloadProgress>,
  ) {
    this.model = repository;
    this.options = context.options;
    this.notes = context.notes;
    this.#progress = progress;
    this.#settings = settings;
    this.#context = context;
  }

  /**
   * Finds a model, downloads missing files, and checks that a model family recognises it. Weights are read later.
   * @throws {OptionError} for an invalid value, a device that this machine lacks, or a component in `prepare` that the
   * model lacks.
   * @throws {ModelError} when the model does not exist, is of another kind, cannot be downloaded, or is damaged.
   */
  static async load(given: FluxDepthOptions = {}): Promise<FluxDepth> {
    const { onProgress, prepare, signal: cancel, ...rest } = given;
    refuseUnknown(Object.keys(rest), Object.keys(loadOptions));
    const options = resolveLoadOptions(rest);
    const progress = new Listener(onProgress);
    using job = progress.job(cancel);
    const { signal } = job;
    signal.throwIfAborted();
    const settings = computeSettingsOf(options);
    const obtaining = { signal, onProgress: progress.tell };
    const { repository, files, ownFiles } = await findModel(options, obtaining);
    signal.throwIfAborted();
    const loras = await Loras.open(files, options, obtaining);
    const model = openModel(files, options, settings.device, {
      loras,
      ownFiles,
      onProgress: progress.tell,
      prepare,
    });
    const estimators = new EstimatorSource(repository, {
      ...estimatorOptionsOf(options),
      cacheLimit: cacheLimitOf(options),
      offline: options.offline,
      onLoad: model.onLoad,
      onDownload: progress.tell,
    });
    const notes = [
      ...files.notes,
      ...loras.notes,
      ...quantizeNotes(files.storedBits, rest.quantize),
      ...blockNotesOf(files, ownFiles, options.quantize).losses,
    ];
    const context = {
      model,
      options,
      estimators,
      prompts: new PromptCache(),
      controls: new LastArtifact<Artifacts["control"]>(),
      fastPreviews: new FastPreviews(),
      notes,
    };
    return new FluxDepth(repository, settings, context, progress);
  }

  /** The LoRAs of the model, with the strengths set by loading or by the last request. */
  get loras(): readonly LoraState[] {
    return this.#context.model.loras.states;
  }

  /**
   * Identifies what shapes the numbers of a generation apart from its request: versions, processor, precision and
   * weights. If it is equal, a generation gives the same pixels.
   */
  get fingerprint(): string {
    return fingerprintOf(this.#context.model, this.model, this.#settings, this.options.variant);
  }

  /**
   * Generates an image.
   * @param given.onStep receives an event after each denoising step.
   * @throws {OptionError} for an invalid value, before any work.
   * @throws {ImageError} when an image cannot be read.
   * @throws {ModelError} when weights do not load or give numbers that are not finite, or the depth estimator is not found.
   * @throws {MemoryError} when the machine has too little memory, unless `force` is set.
   */
  async generate(
    given: GenerateOptions & { readonly onStep?: ((step: StepEvent) => void) | undefined },
  ): Promise<GenerationResult> {
    requireOptions(given);
    const { onStep, signal, ...request } = given;
    const steps = new Listener(onStep);
    using job = steps.job(signal);
    for await (const event of this.steps({ ...request, signal: job.signal })) {
      if (event.type === "step") steps.tell(event);
      if (event.type === "result") return event.result;
    }
    throw new Error("the generation ended without a result");
  }

  /**
   * Generates an image and yields each stage, step and warning; the last event carries the result. Leaving the loop
   * early ends the generation. It pauses while the loop is busy, unless another call waits for it: on this instance, or
   * on one with another device, threads or cache limit. Then it continues, and the loop gets the remaining events when
   * it asks for them. So a loop may itself call `generate` and `estimateDepth`, which begin when this generation has
   * ended.
   * @throws as {@link generate}.
   */
  async *steps(given: GenerateOptions & StepOptions): AsyncGenerator<GenerationEvent, void, void> {
    requireOptions(given);
    const {
      signal,
      previewEvery = 0,
      previewKind = "exact",
      withLatents = false,
      resume = null,
      ...rest
    } = given;
    refuseUnknown(Object.keys(rest), Object.keys(requestOptions));
    if (!Number.isInteger(previewEvery) || previewEvery < 0)
      throw new OptionError(
        "previewEvery",
        `previewEvery must be a whole number of steps, or 0 for no previews, not ${previewEvery}.`,
      );
    checkOption("previewKind", { type: "choice", values: previewKinds }, previewKind);
    const { model } = this.#context;
    const request = await withAutoSize(resolveRequest(rest, model.family.defaults));
    const grid = latentGridOf(request, model);
    requireLatentSize(request, grid);
    const noiseLevels = noiseLevelsOf(request, grid, model);
    model.loras.checkScales(request.loraScales);
    if (resume) requireCheckpoint(resume, { ...request, steps: noiseLevels.length - 1, grid });
    const left = new AbortController();
    const ended = AbortSignal.any([this.#untilDisposed(signal), left.signal]);
    const turn = await this.#enter(ended);
    const events = this.#generate(
      { request, grid, noiseLevels, previewEvery, previewKind, withLatents, resume, signal: ended },
      turn,
    );
    yield* readAhead(events, turn.awaited, () => left.abort(new Error("the loop over the steps was left")));
  }

  /**
   * Estimates the depth of a photo, and its field of view if the estimator can.
   * @throws {OptionError} when the photo is not an image.
   * @throws {ImageError} when the photo cannot be read.
   * @throws {ModelError} when the depth estimator cannot be found or does not load.
   */
  async estimateDepth(photo: ImageInput, options: EstimateOptions = {}): Promise<DepthEstimate> {
    checkOption("photo", { type: "image" }, photo);
    requireOptions(options);
    const { estimators } = this.#context;
    return this.#inTurn(options.signal, async (signal) => {
      try {
        return await this.#estimate(await estimators.find(signal), photo, { ...options, signal });
      } finally {
        estimators.free();
      }
    });
  }

  /**
   * Estimates depth with another estimator, whose weights stay in memory. Uses this instance's settings, and waits for
   * its earlier generations.
   * @throws as {@link DepthEstimator.estimate}.
   */
  estimateWith(
    estimator: DepthEstimator,
    photo: DecodedImage,
    options: EstimateOptions = {},
  ): Promise<DepthEstimate> {
    return this.#inTurn(options.signal, (signal) => this.#estimate(estimator, photo, { ...options, signal }));
  }

  /** If the model's weights leave too little memory, they are freed; the next generation reads them again. */
  async #estimate(
    estimator: DepthEstimator,
    photo: ImageInput | DecodedImage,
    options: EstimateOptions,
  ): Promise<DepthEstimate> {
    if (!hasRoom(estimator)) this.#freeModel();
    return estimator.estimate(photo, options);
  }

  /** Runs `work` while nothing else computes on this instance, or elsewhere with other settings. */
  async #inTurn<T>(cancel: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const ended = this.#untilDisposed(cancel);
    const turn = await this.#enter(ended);
    using job = this.#progress.job(ended);
    try {
      return await work(job.signal);
    } finally {
      memory.clearCache();
      turn.end();
    }
  }

  /** Frees all weights. A generation in progress rejects. */
  dispose(): void {
    this.#lifetime.abort(new EngineError("This FluxDepth has been disposed.", { code: "engine-closed" }));
    this.#free();
    memory.clearCache();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Runs a generation up to the event with the result, then ends the turn. */
  async *#generate(asked: AskedGeneration, turn: Turn): AsyncGenerator<GenerationEvent, void, void> {
    using job = this.#progress.job(asked.signal);
    const { signal } = job;
    try {
      const generation = await setUp({ ...asked, signal }, this.#context);
      yield* generation.warnings.report();
      const stages = stagesOf(generation.workload);
      const finished = yield* runRecipe(stages, generation, this.options.memory);
      signal.throwIfAborted();
      const names = { model: this.model, estimator: this.#context.estimators.name };
      yield { type: "result", result: resultOf(generation, finished, names) };
    } finally {
      memory.clearCache();
      turn.end();
    }
  }

  /**
   * Waits for the turn of a call: until this instance is idle, and no instance with other settings computes.
   * @throws the signal's reason when it is aborted first.
   */
  async #enter(signal: AbortSignal): Promise<Turn> {
    const own = await this.#queue.enter(signal);
    try {
      const shared = await enterWith(this.#settings, signal);
      const turn = new Turn(() => {
        shared.end();
        own.end();
      });
      void Promise.race([own.awaited, shared.awaited]).then(turn.await);
      // Also ends a generation that pauses for a busy or lost reader.
      signal.addEventListener("abort", turn.await, { once: true });
      return turn;
    } catch (error) {
      own.end();
      throw error;
    }
  }

  /** The given signal, which also aborts when this instance is disposed. */
  #untilDisposed(signal: AbortSignal | undefined): AbortSignal {
    return AbortSignal.any([this.#lifetime.signal, ...(signal ? [signal] : [])]);
  }

  /** Frees everything that survives a generation. */
  #free(): void {
    const { model, estimators, prompts, controls } = this.#context;
    this.#freeModel();
    model.tokenizers.free();
    estimators.free();
    prompts.clear();
    controls.clear();
  }

  #freeModel(): void {
    for (const component of Object.values(this.#context.model.components)) component.free();
  }
}
