import { untilAborted } from "../abort.js";
import { checkAdjustments } from "../depth/adjustments.js";
import { EngineError, OptionError } from "../errors.js";
import { Listener } from "../listener.js";
import { shortOfMemory } from "../memory/pressure.js";
import {
  type RequestOption,
  refuseUnknown,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import { untilDeleted, whileDeleting } from "./deletions.js";
import { Downloads } from "./downloads.js";
import { EngineProcess, type ProcessJob } from "./engine-process.js";
import { IdleWatch } from "./idle-watch.js";
import { JobQueue, type QueuedJob } from "./job-queue.js";
import { ModelUses } from "./model-uses.js";
import { modelNamesOf } from "./models.js";
import type {
  DepthJob,
  DepthResult,
  EngineEvent,
  EngineJob,
  EngineResult,
  HeldModel,
  JobPlan,
  PlannedJob,
} from "./protocol.js";
import { residentMemory } from "./resident-memory.js";
import { SideProcess } from "./side-process.js";
import { deleteModel } from "./store.js";

export interface EngineOptions {
  /** Releases the model after this long without a job. 10 minutes by default. */
  readonly idleSeconds?: number;
  /**
   * Called regularly while no job runs; if it returns true, the model is released. Asks the operating system by
   * default.
   */
  readonly shortOfMemory?: () => Promise<boolean>;
  /** How often `shortOfMemory` is called. Every 15 seconds by default. */
  readonly pressureSeconds?: number;
  /** How long a cancelled job may take to end before its process is killed. 10 seconds by default. */
  readonly cancelSeconds?: number;
  /** Environment of the process, read by MLX and to find the model cache. This process's by default. */
  readonly env?: NodeJS.ProcessEnv;
  /**
   * Accepts images only as the bytes of files (default false), so that remote requests cannot name files of this
   * machine.
   */
  readonly imagesAsBytes?: boolean;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: EngineEvent) => void) | undefined;
  /**
   * A token for the Hub, instead of this machine's. It is used only for this job's downloads, and is not part of the
   * job, so that it is never stored.
   */
  readonly token?: string | undefined;
}

/**
 * Runs the pipeline in a separate process. Jobs run one at a time, in the order of the calls, and the event loop of this
 * process stays free. If the engine's process dies, only its current job fails: the next job starts another. A job whose
 * model must be downloaded first joins the queue after the download; later jobs do not wait for it. Depth is estimated
 * and memory planned in a second process, next to the jobs.
 *
 * The process keeps its model for the next job. Releasing the model ends the process, which returns all its memory.
 */
export class Engine {
  readonly #env: NodeJS.ProcessEnv | undefined;
  readonly #cancelSeconds: number;
  readonly #imagesAsBytes: boolean;
  readonly #queue = new JobQueue();
  readonly #downloads: Downloads;
  /** The models of all jobs that have not ended. */
  readonly #uses = new ModelUses();
  /** The models of the last job, some of which its process holds. */
  #lastModels: readonly string[] = [];
  /** Number of jobs that wait for a download. */
  #downloading = 0;
  #running: QueuedJob | null = null;
  #process: EngineProcess | null = null;
  /** Resolves once all processes that were told to stop have ended, because two models may not fit into memory. */
  #stopped: Promise<unknown> = Promise.resolve();
  readonly #side: SideProcess;
  /** Promises of the estimates in progress. */
  readonly #estimates = new Set<Promise<void>>();
  readonly #idle: IdleWatch;
  readonly #closing = new AbortController();

  constructor(options: EngineOptions = {}) {
    const { env, cancelSeconds = 10, imagesAsBytes = false, ...policy } = options;
    this.#env = env;
    this.#imagesAsBytes = imagesAsBytes;
    this.#cancelSeconds = cancelSeconds;
    this.#downloads = new Downloads(env);
    this.#side = new SideProcess(env);
    this.#idle = new IdleWatch({ idleSeconds: 600, shortOfMemory, pressureSeconds: 15, ...policy }, () =>
      this.#stop(),
    );
  }

  /** Whether a job is running. */
  get busy(): boolean {
    return this.#running !== null;
  }

  /** Number of jobs that have not started. */
  get waiting(): number {
    return this.#queue.length + this.#downloading;
  }

  /** Process id of the engine's process, while there is one. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The model that the last job left in memory for the next one. */
  get held(): HeldModel | null {
    return this.#process?.held ?? null;
  }

  /**
   * Generates an image, once its model is on this machine and the jobs before it are done.
   * @param options.signal cancels the download, removes the job from the queue, or ends it within a step. The promise
   * rejects with the signal's reason after the job's memory has been returned.
   * @param options.onEvent receives the job's events. If it throws or rejects, the job ends like a cancelled one, with
   * that error.
   * @throws {OptionError} immediately, for an invalid option.
   * @throws {ImageError} {ModelError} as the pipeline does.
   * @throws {EngineError} if the process ended, or for an unexpected error.
   */
  async generate(job: EngineJob, options: RunOptions = {}): Promise<EngineResult> {
    this.#requireOpen();
    const listener = new Listener(options.onEvent);
    using listened = listener.job(options.signal);
    const { signal } = listened;
    signal.throwIfAborted();
    this.#check(job);
    const models = modelNamesOf(job, this.#env);
    using _use = this.#uses.add(models);
    const deletion = untilDeleted(models, signal);
    if (deletion) await deletion;
    const queued = { job, signal, onEvent: listener.tell };
    if (this.#downloads.missing(job)) await this.#download(queued, options.token);
    const result = this.#queue.add(queued);
    void this.#runNext();
    return await result;
  }

  /**
   * Estimates the depth of a photo without waiting for a running generation: in the side process if there is memory for
   * it in addition to what the generation needs, otherwise between two of the generation's steps.
   * @throws {OptionError} immediately, for an invalid option.
   * @throws {ImageError} when the photo cannot be read, or shows no depth.
   * @throws {ModelError} when the depth estimator cannot be found or does not load.
   * @throws {MemoryError} when there is too little memory for an estimate.
   * @throws {EngineError} if a process ended, or for an unexpected error.
   */
  async estimateDepth(
    job: DepthJob,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<DepthResult> {
    this.#requireOpen();
    requireBytes("photo", job.photo);
    checkAdjustments(job.adjustments ?? {});
    resolveLoadOptions(job.load);
    const needs = { load: job.load, request: { prompt: "", image: job.photo } };
    const models = modelNamesOf(needs, this.#env);
    using _use = this.#uses.add(models);
    await untilDeleted(models, signal);
    // Taken before the estimate counts as in progress, because generations wait for estimates.
    const ended = this.#untilClosed(signal);
    await this.#downloads.obtain(needs, { signal: ended, onProgress: () => {}, purpose: "depth" });
    const estimate = this.#estimate(job, ended);
    const settled = estimate.then(
      () => {},
      () => {},
    );
    this.#estimates.add(settled);
    void settled.then(() => this.#estimates.delete(settled));
    return await estimate;
  }

  async #estimate(job: DepthJob, signal: AbortSignal): Promise<DepthResult> {
    const ask = async (required: boolean): Promise<DepthResult | null> => {
      const running = this.#running?.job;
      const heldBytes = this.pid === undefined ? 0 : await residentMemory(this.pid);
      const runningJob = running ? { job: planned(running), heldBytes } : null;
      return (await this.#side.ask({ type: "depth", job, runningJob, required }, signal)).result;
    };
    const result = await ask(false);
    if (result) return result;
    if (this.#running && this.#process) return this.#process.estimateDepth(job, signal);
    // Nothing is running, so the model held for the next job is released.
    await this.evict();
    return (await ask(true))!;
  }

  /**
   * Plans the memory of a job in the side process. Reads no weights and downloads nothing.
   * @returns the plan, with one sentence for each thing that could not be examined. What the engine holds now counts as
   * available.
   * @throws {OptionError} for an invalid option.
   * @throws {ModelError} when the model is not on this machine, or is damaged.
   * @throws {EngineError} if the process ended, or for an unexpected error.
   */
  async planJob(job: EngineJob, { signal }: { readonly signal?: AbortSignal } = {}): Promise<JobPlan> {
    this.#requireOpen();
    this.#check(job);
    const heldBytes = this.pid === undefined ? 0 : await residentMemory(this.pid);
    const request = { type: "plan", job: planned(job), heldBytes } as const;
    return (await this.#side.ask(request, this.#untilClosed(signal))).plan;
  }

  /** The given signal, which also aborts when this engine is closed. */
  #untilClosed(signal: AbortSignal | undefined): AbortSignal {
    return AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]);
  }

  #requireOpen(): void {
    if (this.#closing.signal.aborted)
      throw new EngineError("This engine has been closed.", { code: "engine-closed" });
  }

  /** @throws {OptionError} for an invalid option. */
  #check({ request, load }: EngineJob): void {
    refuseUnknown(Object.keys(request), Object.keys(requestOptions));
    resolveRequest(request);
    resolveLoadOptions(load);
    if (this.#imagesAsBytes)
      for (const name of imageOptions) if (request[name]) requireBytes(name, request[name]);
  }

  async #download({ job, signal, onEvent }: ProcessJob, token: string | undefined): Promise<void> {
    this.#downloading++;
    try {
      await this.#downloads.obtain(job, {
        signal: this.#untilClosed(signal),
        onProgress: (progress) => onEvent({ type: "load", ...progress }),
        token,
      });
    } finally {
      this.#downloading--;
    }
  }

  /**
   * Releases the model, unless a job is running or queued.
   * @returns the model that was held; null if there was none or it is in use.
   */
  async evict(): Promise<HeldModel | null> {
    if (this.#running || this.#queue.length > 0) return null;
    const held = this.held;
    await this.#stop();
    return held;
  }

  /**
   * Deletes a repository from the Hugging Face cache, or one revision together with the files that only it uses. A held
   * model is released first. Jobs that need the repository meanwhile wait, and then download it.
   * @returns false if the cache has no such repository or revision.
   * @throws {EngineError} if a job that runs or waits needs it.
   * @throws {ModelError} if it cannot be deleted.
   */
  async deleteModel(repository: string, { revision }: { readonly revision?: string } = {}): Promise<boolean> {
    if (this.#uses.has(repository))
      throw new EngineError(
        `A job uses ${repository}; cancel it or wait for it to end, then delete the model.`,
        { code: "model-in-use", details: { model: repository } },
      );
    return whileDeleting(repository, async () => {
      if (this.#lastModels.includes(repository)) await this.evict();
      return deleteModel(repository, { revision, env: this.#env });
    });
  }

  /** Ends the process. Jobs that are running or waiting reject. */
  async close(): Promise<void> {
    const reason = new EngineError("The engine was closed.", { code: "engine-closed" });
    this.#closing.abort(reason);
    this.#queue.rejectAll(reason);
    if (this.#running) this.#process?.kill(reason.message);
    this.#side.stop();
    await this.#stop();
  }

  async #runNext(): Promise<void> {
    if (this.#running) return;
    const job = this.#queue.take();
    if (!job) return this.#rest();
    this.#running = job;
    this.#wake();
    try {
      job.resolve(await this.#run(job));
    } catch (error) {
      job.reject(error);
    }
    this.#running = null;
    void this.#runNext();
  }

  /** Runs a job in the current process, or in a new one if there is none. */
  async #run(job: QueuedJob): Promise<EngineResult> {
    const options = { cancelSeconds: this.#cancelSeconds };
    // A generation plans with the memory that is free when it starts.
    await untilAborted(Promise.all([this.#stopped, ...this.#estimates]), job.signal);
    this.#lastModels = modelNamesOf(job.job, this.#env);
    const kept = this.#process;
    const result = (kept && (await kept.run(job, options))) ?? (await this.#startProcess().run(job, options));
    if (!result)
      throw new EngineError("The engine process could not be started.", {
        code: "engine-not-started",
        details: { remedies: [{ kind: "inspect-machine" }] },
      });
    return result;
  }

  #startProcess(): EngineProcess {
    this.#closing.signal.throwIfAborted();
    const started = new EngineProcess(this.#env);
    this.#process = started;
    void started.exited.then(() => {
      if (this.#process === started) this.#process = null;
    });
    return started;
  }

  /** Without jobs, the process lives until the idle policy releases its model or this process ends. */
  #rest(): void {
    if (!this.#process) return;
    this.#process.unref();
    this.#idle.start();
  }

  #wake(): void {
    this.#idle.stop();
    this.#process?.ref();
  }

  async #stop(): Promise<void> {
    this.#wake();
    const stopping = this.#process;
    this.#process = null;
    this.#stopped = Promise.all([this.#stopped, stopping?.stop()]);
    await this.#stopped;
  }
}

/** The options of a request that are images. */
const imageOptions = (Object.keys(requestOptions) as RequestOption[]).filter(
  (name) => requestOptions[name].kind.type === "image",
);

/** @throws {OptionError} for an image that is not the bytes of a file. */
function requireBytes(name: string, image: unknown): void {
  const expected = "the bytes of an encoded image";
  if (!(image instanceof Uint8Array))
    throw new OptionError(name, `${name} must be ${expected}.`, { details: { expected } });
}

/**
 * Prepares a job for the planner, which only needs to know which images are present. The size "auto" would need their
 * proportions, so it is replaced by the given width and height, which have as many pixels.
 */
function planned({ load, request, previews, includeFidelity }: EngineJob): PlannedJob {
  const { latents: _latents, size: _size, ...rest } = request;
  const given = imageOptions.filter((name) => request[name]).map((name) => [name, "given"]);
  return { load, request: { ...rest, ...Object.fromEntries(given) }, previews, includeFidelity };
}
