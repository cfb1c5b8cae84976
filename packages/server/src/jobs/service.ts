import { createHash } from "node:crypto";
import { totalmem } from "node:os";
import { Engine, modelHere, publishedEstimators } from "mflux-depth/engine";
import { type LoadOptions, loadOptions, resolveLoadOptions } from "mflux-depth/options";
import { Blobs, type StoredPicture } from "../blobs/blobs.js";
import { FileStore } from "../blobs/file-store.js";
import {
  type EstimatorObject,
  type JobBody,
  type JobEvent,
  type JobKind,
  type JobObject,
  type JobPage,
  type JobState,
  type JsonOptions,
  type ModelObject,
  type PlanObject,
  type QueueObject,
  terminalEvents,
  type WorkerObject,
} from "../contract/index.js";
import { DataFolder } from "../data-folder/data-folder.js";
import { diskFull } from "../data-folder/reserve.js";
import type { Dispatcher, Offer } from "../dispatch/dispatcher.js";
import { LocalDispatcher } from "../dispatch/local.js";
import { ServiceError } from "../errors.js";
import { History } from "../history/history.js";
import { depthValues, imageArtifact } from "../history/job-object.js";
import type { Preview } from "../history/live.js";
import type { StreamEvent } from "../history/stream-event.js";
import type { ArtifactRecord } from "../ledger/files.js";
import { newId } from "../ledger/ids.js";
import type { ImageRequestRecord } from "../ledger/image-requests.js";
import type { JobRecord } from "../ledger/jobs.js";
import { Ledger } from "../ledger/ledger.js";
import { mapOf } from "../requests/depth-job.js";
import { engineJobOf, engineLoadOf } from "../requests/engine-job.js";
import { requireEstimators } from "../requests/estimators.js";
import { serviceErrorOf } from "../requests/failure.js";
import { AllowedModels, bundledModel } from "../requests/models.js";
import { depthPartOf, planObjectOf } from "../requests/plan-object.js";
import { type Defaults, type ResolvedBody, resolveBody, resolveLoad } from "../requests/resolve.js";
import { backUp } from "../upkeep/backup.js";
import { Upkeep } from "../upkeep/upkeep.js";
import type { AttemptTools } from "../work/attempt.js";
import { Checkpoints } from "../work/checkpoints.js";
import { Runner } from "../work/runner.js";
import { workloadOf } from "../work/workload.js";
import { estimatorObjectOf, modelObjectOf } from "./models.js";
import type { ServiceOptions } from "./settings.js";

export type { BlobLimits, Blobs, LentPicture, StoredPicture } from "../blobs/blobs.js";
export type { StreamEvent } from "../history/stream-event.js";

export interface SubmitOptions {
  readonly idempotencyKey?: string | undefined;
  /** A hash of the body as it was sent; a repeat of the key with another one is refused. */
  readonly bodyHash?: string | undefined;
}

export interface JobFilter {
  readonly states?: readonly JobState[] | undefined;
  readonly kind?: JobKind | undefined;
  readonly starred?: boolean | undefined;
  /** Words that prompts must contain, whatever their case. */
  readonly q?: string | undefined;
  /** 50 by default. */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** Changes to a job. */
export interface JobUpdate {
  readonly starred?: boolean | undefined;
  readonly priority?: number | undefined;
}

/** A preview lives in memory only. */
export type PreviewPicture = Omit<StoredPicture, "sha256">;

/** Float32 values, row by row. */
export interface FloatMap {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** How a depth map is adjusted; percentiles are of the map before it is resized. */
export interface DepthAdjustments {
  readonly near?: number | undefined;
  readonly far?: number | undefined;
  readonly gamma?: number | undefined;
  readonly invert?: boolean | undefined;
}

/** A depth map of a photo, and the values it was made from. */
export interface DepthAtOnce {
  readonly map: FloatMap;
  /** The estimator's own values: inverse depth, at its own size. */
  readonly inverse: FloatMap;
}

export interface Health {
  readonly ready: boolean;
  /** "ok", or one sentence about what is wrong. */
  readonly checks: Readonly<Record<"ledger" | "disk", string>>;
}

/** The worker of this process. */
const localWorker = "local";

/** How often the disk is looked at, and what is no longer kept is deleted. */
const upkeepMs = 60_000;
/** How often everything that is stored is compared with the ledger. */
const sweepMs = 60 * upkeepMs;

/**
 * Everything that the server does, without HTTP. Throws a {@link ServiceError} for what it refuses.
 *
 * Bodies were checked against the schemas before; pictures in them are `{blob: id}` or the id alone.
 */
export class JobService {
  readonly blobs: Blobs;
  readonly #folder: DataFolder;
  readonly #ledger: Ledger;
  readonly #history: History;
  readonly #files: FileStore;
  readonly #dispatcher: Dispatcher;
  readonly #engine: Engine;
  readonly #runner: Runner;
  readonly #upkeep: Upkeep;
  readonly #defaults: Defaults;
  readonly #maxQueue: number;
  readonly #env: NodeJS.ProcessEnv | undefined;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #timers: readonly NodeJS.Timeout[];

  private constructor(folder: DataFolder, tools: AttemptTools, options: ServiceOptions) {
    const { ledger, history, files, defaults, onProblem } = tools;
    const { maxQueue = 1000, env } = options;
    this.#folder = folder;
    this.#ledger = ledger;
    this.#history = history;
    this.#files = files;
    this.#engine = tools.engine;
    this.#defaults = defaults;
    this.#maxQueue = maxQueue;
    this.#env = env;
    this.#onProblem = onProblem;
    this.blobs = new Blobs(ledger, files);
    this.#dispatcher = new LocalDispatcher();
    this.#runner = new Runner({ ...tools, dispatcher: this.#dispatcher, worker: localWorker });
    this.#upkeep = new Upkeep({ ...tools, blobs: this.blobs }, options);
    this.#timers = [
      setInterval(() => void this.#maintain(), upkeepMs),
      setInterval(() => void this.#sweep(), sweepMs),
    ];
  }

  /**
   * Opens a data folder and continues the jobs it has.
   * @throws {ServiceError} `unavailable` if another process uses the folder, or its ledger cannot be used.
   */
  static async open(options: ServiceOptions): Promise<JobService> {
    const defaults = await defaultsOf(options);
    const folder = await DataFolder.open(options.folder);
    let service: JobService | null = null;
    try {
      const { onProblem = () => {}, onMeasurement, env, idleMinutes = 10 } = options;
      const files = new FileStore(folder.filesFolder, folder.reserve);
      const checkpoints = new Checkpoints(folder.checkpointsFolder, folder.reserve);
      await Promise.all([files.open(), checkpoints.open()]);
      const ledger = new Ledger(folder.ledgerFile, () => folder.reserve.spend());
      const history = new History(ledger, { onMeasurement, onProblem });
      const engine = new Engine({ idleSeconds: idleMinutes * 60, imagesAsBytes: true, ...(env && { env }) });
      const tools = { ledger, files, checkpoints, history, engine, defaults, onProblem };
      service = new JobService(folder, tools, options);
      await service.#begin();
      return service;
    } catch (error) {
      if (service) await service.close();
      else folder.close();
      throw error;
    }
  }

  /** Puts the jobs of the last process back into the queue, and begins to work. */
  async #begin(): Promise<void> {
    const { jobs, settings, workers } = this.#ledger;
    for (const { id, attempt } of jobs.running()) this.#history.interrupted(id, attempt, "interrupted");
    for (const { id, cancelRequested } of jobs.queued())
      if (cancelRequested) this.#history.cancelledQueued(id);
    if (settings.paused) await this.#dispatcher.pause();
    for (const job of jobs.queued()) await this.#dispatcher.offer(offerOf(job));
    this.#dispatcher.onLost(({ id, attempt }) => this.#history.interrupted(id, attempt, "interrupted"));
    this.#seeWorker();
    if (workers.find(localWorker)?.draining) this.#runner.drain();
    await this.#maintain();
    await this.#sweep();
    this.#runner.start();
  }

  async #maintain(): Promise<void> {
    try {
      await this.#folder.reserve.restore();
      this.#upkeep.run();
      this.#seeWorker();
    } catch (error) {
      this.#onProblem("Expired jobs and pictures could not be deleted.", error);
    }
  }

  async #sweep(): Promise<void> {
    try {
      await this.#upkeep.sweep();
    } catch (error) {
      this.#onProblem("Unneeded files could not be deleted.", error);
    }
  }

  // ---------------------------------------------------------------- jobs

  /**
   * @throws {ServiceError} `queue_full`, `disk_full`, `idempotency_mismatch`, `model_not_found` (also for a depth estimator
   *   that is not on this machine), `invalid_image`, or the code of an option.
   */
  async submit(
    body: JobBody,
    { idempotencyKey, bodyHash = hashOf(body) }: SubmitOptions = {},
  ): Promise<{ readonly job: JobObject; readonly created: boolean }> {
    const earlier = (): JobObject | null =>
      idempotencyKey === undefined ? null : this.#earlierJob(idempotencyKey, bodyHash);
    const first = earlier();
    if (first) return { job: first, created: false };
    const { blobs, ...resolved } = resolveBody(body, this.#defaults);
    requireEstimators(resolved, this.#defaults, this.#env);
    if (!(await this.#folder.reserve.restore())) throw diskFull();
    // Nothing waits from here on, so that two requests with the same key or for the last place cannot pass both.
    const meanwhile = earlier();
    if (meanwhile) return { job: meanwhile, created: false };
    this.#requireRoom();
    this.#requireBlobs(blobs);
    const record = this.#history.submitted(
      {
        ...resolved,
        id: newId(),
        priority: body.priority ?? 0,
        createdAt: Date.now(),
        previewEvery: body.preview_every ?? 0,
        metadata: body.metadata ?? {},
        idempotencyKey: idempotencyKey ?? null,
        bodyHash,
      },
      blobs.map(({ sha256 }) => sha256),
    );
    await this.#dispatcher.offer(offerOf(record));
    return { job: this.get(record.id), created: true };
  }

  /** @throws {ServiceError} `not_found` */
  get(id: string): JobObject {
    return this.#history.object(this.#history.find(id));
  }

  /** Jobs, newest first. @throws {ServiceError} `invalid_cursor` */
  list({ limit = 50, ...filter }: JobFilter = {}): JobPage {
    const { jobs, nextCursor } = this.#ledger.jobs.page({ ...filter, limit });
    return { data: jobs.map((job) => this.#history.object(job)), next_cursor: nextCursor };
  }

  /** Cancels a queued job at once; asks a running one to end; leaves a finished one. @throws {ServiceError} `not_found` */
  async cancel(id: string): Promise<JobObject> {
    this.#history.find(id);
    if (this.#history.cancelledQueued(id) || this.#history.cancelRequested(id))
      await this.#dispatcher.cancel(id);
    return this.get(id);
  }

  /** @throws {ServiceError} `not_found`; `conflict` for the priority of a job that is not queued. */
  async update(id: string, { starred, priority }: JobUpdate): Promise<JobObject> {
    const { state } = this.#history.find(id);
    if (priority !== undefined && state !== "queued")
      throw new ServiceError(
        "conflict",
        `The priority of a job can change only while it is queued; this one ${past[state]}.`,
        {
          param: "priority",
        },
      );
    if (starred !== undefined) this.#history.starred(id, starred);
    if (priority !== undefined && this.#history.prioritized(id, priority))
      await this.#dispatcher.offer(offerOf(this.#history.find(id)));
    return this.get(id);
  }

  /**
   * Submits a job with the same request and seed.
   * @throws {ServiceError} `not_found`, `conflict` while the first has not finished, or as {@link submit}.
   */
  async retry(id: string): Promise<JobObject> {
    const job = this.#history.find(id);
    requireFinished(job, "tried again");
    const { kind, request, load, priority, previewEvery, metadata } = job;
    const body = { kind, request, load, priority, preview_every: previewEvery, metadata };
    return (await this.submit(body)).job;
  }

  /** Deletes a job with all that it made. @throws {ServiceError} `not_found`, `conflict` before it has finished. */
  async remove(id: string): Promise<void> {
    requireFinished(this.#history.find(id), "deleted");
    const made = this.#ledger.files.artifactsOf(id).map(({ sha256 }) => sha256);
    this.#history.deleted(id);
    this.#upkeep.collectFiles(made);
  }

  #earlierJob(key: string, bodyHash: string): JobObject | null {
    const job = this.#ledger.jobs.findByKey(key);
    if (job && job.bodyHash !== bodyHash)
      throw new ServiceError(
        "idempotency_mismatch",
        "This Idempotency-Key was used with another body; use a new key for a new request.",
      );
    return job && this.#history.object(job);
  }

  #requireRoom(): void {
    const queued = this.#ledger.jobs.count("queued");
    if (queued >= this.#maxQueue)
      throw new ServiceError(
        "queue_full",
        `${queued} jobs are waiting, which is the most here; try again later.`,
        {
          retryAfterSeconds: 10,
        },
      );
  }

  #requireBlobs(blobs: ResolvedBody["blobs"]): void {
    for (const { sha256, param } of blobs)
      if (!this.#ledger.files.findBlob(sha256))
        throw new ServiceError(
          "invalid_image",
          `No picture has the id sha256-${sha256}; unused pictures are deleted after a day. Upload it again.`,
          { param },
        );
  }

  // ---------------------------------------------------------------- the queue

  queue(): QueueObject {
    const { jobs, settings } = this.#ledger;
    return { paused: settings.paused, queued: jobs.count("queued"), running: jobs.count("running") };
  }

  /** The number of jobs in each state. */
  counts(): Readonly<Record<JobState, number>> {
    return this.#ledger.jobs.counts();
  }

  async pauseQueue(): Promise<QueueObject> {
    if (!this.#ledger.settings.paused) this.#history.queueChanged(true);
    await this.#dispatcher.pause();
    return this.queue();
  }

  async resumeQueue(): Promise<QueueObject> {
    if (this.#ledger.settings.paused) this.#history.queueChanged(false);
    await this.#dispatcher.resume();
    return this.queue();
  }

  // ---------------------------------------------------------------- events

  /**
   * Events of a job after an id (0: all), oldest first: the durable ones, and the latest progress of a running attempt.
   * Call {@link subscribe} in the same turn of the event loop, and no event is missed or repeated.
   * @throws {ServiceError} `not_found`
   */
  events(id: string, after: number): { readonly past: readonly JobEvent[]; readonly finished: boolean } {
    const job = this.#history.find(id);
    return { past: this.#history.past(id, after), finished: isFinished(job) };
  }

  /** The same for the stream of all jobs, in parts: ask again after the last event until one is `complete`. */
  eventsOfAll(after: number): { readonly past: readonly StreamEvent[]; readonly complete: boolean } {
    return this.#history.pastOfAll(after);
  }

  /** Receives live events of one job. @returns a function that ends the subscription. */
  subscribe(id: string, listener: (event: JobEvent) => void): () => void;
  /** Receives live events of all jobs. */
  subscribe(id: null, listener: (event: StreamEvent) => void): () => void;
  subscribe(
    id: string | null,
    listener: ((event: JobEvent) => void) | ((event: StreamEvent) => void),
  ): () => void {
    const { hub } = this.#history;
    return id === null
      ? hub.subscribeToAll(listener as (event: StreamEvent) => void)
      : hub.subscribe(id, listener as (event: JobEvent) => void);
  }

  /** Resolves with the job once it has ended. @throws {ServiceError} `not_found`; the signal's reason. */
  async finished(id: string, signal?: AbortSignal): Promise<JobObject> {
    signal?.throwIfAborted();
    if (!isFinished(this.#history.find(id)))
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          unsubscribe();
          signal?.removeEventListener("abort", stop);
        };
        const stop = (): void => {
          leave();
          reject(signal?.reason);
        };
        const unsubscribe = this.subscribe(id, ({ event }) => {
          if (!(terminalEvents as readonly string[]).includes(event)) return;
          leave();
          resolve();
        });
        signal?.addEventListener("abort", stop, { once: true });
      });
    return this.get(id);
  }

  /** Requests for images whose clients may come back. */
  readonly imageRequests = {
    all: (): readonly ImageRequestRecord[] => this.#ledger.imageRequests.all(),
    put: (request: ImageRequestRecord): void =>
      this.#ledger.write(() => this.#ledger.imageRequests.put(request)),
    remove: (content: string): void => this.#ledger.write(() => this.#ledger.imageRequests.remove(content)),
  } as const;

  // ---------------------------------------------------------------- what jobs made

  /**
   * The n-th picture of a job, from 1; the best or only one by default.
   * @throws {ServiceError} `not_found`, `job_not_finished`, `no_image`, `damaged_file`
   */
  async image(id: string, number = 1): Promise<StoredPicture> {
    return this.#open(this.#artifact(id, imageArtifact(number)));
  }

  /**
   * The depth map as the job used it, from 0 (far) to 1 (near).
   * @throws {ServiceError} `not_found`, `job_not_finished`, `no_image`, `damaged_file`
   */
  async depthMap(id: string): Promise<FloatMap> {
    const { bytes, width, height } = await this.#open(this.#artifact(id, depthValues));
    // A copy is aligned for floats.
    return { data: new Float32Array(Uint8Array.from(bytes).buffer), width, height };
  }

  /** The latest preview. @throws {ServiceError} `not_found` if the preview of that step is gone or was never made. */
  preview(id: string, step: number): PreviewPicture {
    this.#history.find(id);
    const preview: Preview | null = this.#history.previewOf(id);
    if (preview?.step !== step)
      throw new ServiceError(
        "not_found",
        "This preview is gone; a preview lasts until the next one, or until the job ends.",
      );
    return preview;
  }

  #artifact(id: string, name: string): ArtifactRecord {
    const { state } = this.#history.find(id);
    if (state === "queued" || state === "running")
      throw new ServiceError("job_not_finished", `This job is ${state}; wait until it has finished.`);
    const artifact = this.#ledger.files.artifactsOf(id).find((one) => one.name === name);
    if (!artifact) throw new ServiceError("no_image", `This job ${outcomes[state]} and has no such picture.`);
    return artifact;
  }

  async #open({ sha256, mime, width, height }: ArtifactRecord): Promise<StoredPicture> {
    return { bytes: await this.#files.read(sha256), mime, width, height, sha256 };
  }

  // ---------------------------------------------------------------- at once

  /**
   * Estimates depth without a job, and without waiting for a running generation.
   * @param picture the bytes of a photo's file.
   * @throws {ServiceError} `invalid_image`, `insufficient_memory`, or the code of an adjustment.
   */
  async depth(
    picture: Uint8Array,
    adjustments: DepthAdjustments,
    signal?: AbortSignal,
  ): Promise<DepthAtOnce> {
    try {
      const given = this.defaultLoad();
      requireEstimators(
        { kind: "depth", request: { image: "given" }, load: given },
        this.#defaults,
        this.#env,
      );
      const load = engineLoadOf(given, this.#defaults);
      const job = { load, photo: picture, adjustments, encode: "npy" } as const;
      const result = await this.#engine.estimateDepth(job, signal && { signal });
      return { map: mapOf(result), inverse: result.inverse };
    } catch (error) {
      signal?.throwIfAborted();
      throw serviceErrorOf(error, null);
    }
  }

  /**
   * What a job would need. Starts nothing.
   * @throws {ServiceError} as {@link submit}, and for a model that is not on this machine.
   */
  async plan(body: JobBody, signal?: AbortSignal): Promise<PlanObject> {
    const resolved = resolveBody(body, this.#defaults);
    this.#requireBlobs(resolved.blobs);
    const { kind } = resolved;
    try {
      // The plan depends on pictures only by their presence.
      const job = await engineJobOf(resolved, this.#defaults, async () => new Uint8Array(1));
      const request = kind === "depth" ? { image: job.request.image, prompt: "depth" } : job.request;
      const plan = await this.#engine.planJob({ ...job, request }, signal && { signal });
      return planObjectOf(kind === "depth" ? depthPartOf(plan) : plan, this.#estimatedSeconds(resolved));
    } catch (error) {
      signal?.throwIfAborted();
      throw serviceErrorOf(error);
    }
  }

  #estimatedSeconds(body: ResolvedBody): number | null {
    const duration = this.#ledger.durations.find(workloadOf(body));
    return duration && duration.otherSeconds + (body.steps ?? 0) * duration.stepSeconds;
  }

  // ---------------------------------------------------------------- workers and models

  /** The loading options of a job that names none. */
  defaultLoad(): JsonOptions {
    return resolveLoad({}, this.#defaults);
  }

  workers(): readonly WorkerObject[] {
    return this.#ledger.workers.all().map(({ id, draining, device, memoryBytes }) => {
      const { job, modelName } = this.#runner;
      return {
        id,
        state: draining ? "draining" : job ? "busy" : "idle",
        model: modelName,
        job,
        device,
        memory_bytes: memoryBytes,
        // It lives in the process that answers.
        last_seen: new Date().toISOString(),
      };
    });
  }

  /** Lets a worker finish its job and take no more. @throws {ServiceError} `not_found` */
  async drain(id: string): Promise<WorkerObject> {
    const worker = this.#setDraining(id, true);
    this.#runner.drain();
    return worker;
  }

  /** Lets a worker take jobs again. @throws {ServiceError} `not_found` */
  async resume(id: string): Promise<WorkerObject> {
    const worker = this.#setDraining(id, false);
    this.#runner.resume();
    return worker;
  }

  #setDraining(id: string, draining: boolean): WorkerObject {
    if (!this.#ledger.write(() => this.#ledger.workers.setDraining(id, draining)))
      throw new ServiceError("not_found", "No worker has this id; GET /v1/workers lists them.");
    return this.workers().find((worker) => worker.id === id)!;
  }

  #seeWorker(): void {
    const device = this.#defaults.load.device ?? (process.platform === "darwin" ? "gpu" : "cpu");
    const memoryBytes = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
    this.#ledger.write(() =>
      this.#ledger.workers.see({ id: localWorker, device, memoryBytes, lastSeen: Date.now() }),
    );
  }

  async models(): Promise<readonly ModelObject[]> {
    const facts = { loaded: this.#runner.modelName, env: this.#env };
    return Promise.all(this.#defaults.models.all.map((model) => modelObjectOf(model, facts)));
  }

  /** The depth estimators that the library knows. */
  async estimators(): Promise<readonly EstimatorObject[]> {
    const names = new Set(this.#defaults.models.all.map(({ name }) => name));
    return Promise.all(
      publishedEstimators.map((estimator) =>
        estimatorObjectOf(estimator, { offered: names.has(estimator.repository), env: this.#env }),
      ),
    );
  }

  /** @throws {ServiceError} `model_not_found` */
  async model(id: string): Promise<ModelObject> {
    this.#defaults.models.sourceOf(id, "model");
    return (await this.models()).find((model) => model.id === id)!;
  }

  async health(): Promise<Health> {
    const checks = { ledger: this.#checkLedger(), disk: await this.#checkDisk() };
    return { ready: Object.values(checks).every((check) => check === "ok"), checks };
  }

  #checkLedger(): string {
    try {
      this.#ledger.check();
      return "ok";
    } catch (error) {
      this.#onProblem("The ledger does not answer.", error);
      return "The ledger does not answer.";
    }
  }

  async #checkDisk(): Promise<string> {
    return (await this.#folder.reserve.restore()) ? "ok" : "The disk is full.";
  }

  // ---------------------------------------------------------------- the service

  /** Copies the ledger and all files that it names into one archive. @throws as {@link backUp} */
  async backup(file: string): Promise<void> {
    await backUp(this.#folder.path, file);
  }

  /** Leaves the running job at its last checkpoint, and ends within a few seconds. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#runner.stop();
    await this.#dispatcher.close();
    this.#history.close();
    this.#ledger.close();
    this.#folder.close();
  }
}

async function defaultsOf({ load = {}, allowedModels = [], env }: ServiceOptions): Promise<Defaults> {
  const { model, depthModel, loras, ...rest } = load;
  const names = {
    model: typeof model === "string" ? model : await usualModel(env),
    depthModel: depthModel ?? undefined,
    loras: resolveLoadOptions({ loras }).loras,
  };
  return { models: new AllowedModels(names, allowedModels), load: rest satisfies LoadOptions };
}

/** The real model if it is here, otherwise the bundled one: a server downloads nothing. */
async function usualModel(env: NodeJS.ProcessEnv | undefined): Promise<string> {
  const usual = loadOptions.model.default;
  return (await modelHere(usual, env)).ready ? usual : bundledModel;
}

const offerOf = ({ id, priority, arrival, model, attempt }: JobRecord): Offer => ({
  id,
  priority,
  arrival,
  model,
  attempt,
});

/** How a job ended, as part of a sentence. */
const outcomes = { succeeded: "succeeded", failed: "failed", cancelled: "was cancelled" } as const;

/** The state of a job, as part of a sentence. */
const past = { queued: "is queued", running: "is running", ...outcomes } as const;

const isFinished = ({ state }: JobRecord): boolean => state !== "queued" && state !== "running";

/** @throws {ServiceError} `conflict` */
function requireFinished(job: JobRecord, verb: string): void {
  if (!isFinished(job))
    throw new ServiceError("conflict", `This job is ${job.state}; it can be ${verb} once it has finished.`);
}

const hashOf = (body: JobBody): string => createHash("sha256").update(JSON.stringify(body)).digest("hex");
