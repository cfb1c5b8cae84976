import { createHash } from "node:crypto";
import { Engine } from "mflux-depth/engine";
import { Blobs } from "../blobs/blobs.js";
import { FileStore } from "../blobs/file-store.js";
import {
  type JobBody,
  type JobEvent,
  type JobKind,
  type JobObject,
  type JobPage,
  type JobState,
  terminalEvents,
} from "../contract/index.js";
import { DataFolder } from "../data-folder/data-folder.js";
import { diskFull } from "../data-folder/reserve.js";
import type { Dispatcher } from "../dispatch/dispatcher.js";
import { LocalDispatcher } from "../dispatch/local.js";
import type { RedisDispatcher } from "../dispatch/redis/dispatcher.js";
import type { LedgerView, RedisDispatcherOptions } from "../dispatch/redis/options.js";
import { ServiceError } from "../errors.js";
import { RemoteAttempts } from "../fleet/remote-attempts.js";
import { History } from "../history/history.js";
import type { StreamEvent } from "../history/stream-event.js";
import { newId } from "../ledger/ids.js";
import type { ImageRequestRecord } from "../ledger/image-requests.js";
import type { JobRecord } from "../ledger/jobs.js";
import { Ledger } from "../ledger/ledger.js";
import { requireEstimators } from "../requests/estimators.js";
import { type Defaults, resolveBody } from "../requests/resolve.js";
import { backUp } from "../upkeep/backup.js";
import { Upkeep } from "../upkeep/upkeep.js";
import type { AttemptTools } from "../work/attempt.js";
import { Checkpoints } from "../work/checkpoints.js";
import { interrupt, LedgerRecords, type LedgerTools } from "../work/ledger-record.js";
import { Runner } from "../work/runner.js";
import { AtOnce } from "./at-once.js";
import { requireBlobs } from "./blob-check.js";
import { Catalogue } from "./catalogue.js";
import { defaultsOf } from "./defaults.js";
import { type Health, healthOf } from "./health.js";
import { JobQueue } from "./job-queue.js";
import { Maintenance } from "./maintenance.js";
import { ledgerView, offerOf } from "./offers.js";
import { Results } from "./results.js";
import type { Measurement, ServiceOptions } from "./settings.js";
import { states } from "./words.js";
import { localWorker, WorkerRegistry } from "./worker-registry.js";

export type { BlobLimits, Blobs, LentPicture, StoredPicture } from "../blobs/blobs.js";
export type { RemoteAttempts } from "../fleet/remote-attempts.js";
export type { StreamEvent } from "../history/stream-event.js";
export type { DepthAdjustments, DepthAtOnce } from "./at-once.js";
export type { Health } from "./health.js";
export type { PreviewPicture } from "./results.js";

export interface SubmitOptions {
  readonly idempotencyKey?: string | undefined;
  /** A hash of the body as it was sent. Repeating the key with another hash is refused. */
  readonly bodyHash?: string | undefined;
}

export interface JobFilter {
  readonly states?: readonly JobState[] | undefined;
  readonly kind?: JobKind | undefined;
  readonly starred?: boolean | undefined;
  /** Words that prompts must contain, in any case. */
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

/**
 * Everything that the server does, without HTTP. Refusals are thrown as {@link ServiceError}.
 *
 * Bodies must have been checked against the schemas; pictures in them are `{blob: id}` or the bare id.
 */
export class JobService {
  readonly blobs: Blobs;
  readonly queue: JobQueue;
  readonly results: Results;
  readonly atOnce: AtOnce;
  readonly workers: WorkerRegistry;
  readonly catalogue: Catalogue;
  /** The attempts of workers on other machines. */
  readonly remote: RemoteAttempts;
  readonly #folder: DataFolder;
  readonly #ledger: Ledger;
  readonly #history: History;
  readonly #dispatcher: Dispatcher;
  /** The dispatcher if it is one on Redis, or null. */
  readonly #redis: RedisDispatcher | null;
  readonly #engine: Engine;
  /** Null if only other machines work. */
  readonly #runner: Runner | null;
  readonly #upkeep: Upkeep;
  readonly #defaults: Defaults;
  readonly #maxQueue: number;
  readonly #env: NodeJS.ProcessEnv | undefined;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #onMeasurement: (measurement: Measurement) => void;
  readonly #maintenance: Maintenance;

  private constructor(
    folder: DataFolder,
    tools: AttemptTools & LedgerTools & { readonly connect: Connect | null },
    options: ServiceOptions,
  ) {
    const { engine, ledger, history, files, defaults, onProblem, connect } = tools;
    const { maxQueue = 1000, env, works = true, leaseMs = 30_000 } = options;
    this.#folder = folder;
    this.#ledger = ledger;
    this.#history = history;
    this.#engine = engine;
    this.#defaults = defaults;
    this.#maxQueue = maxQueue;
    this.#env = env;
    this.#onProblem = onProblem;
    this.#onMeasurement = options.onMeasurement ?? (() => {});
    this.remote = new RemoteAttempts(tools);
    const heard: LedgerView["heard"] = (attempt) => this.#isHeard(attempt, leaseMs);
    this.#redis = connect?.({ leaseMs, onProblem, ledger: ledgerView(ledger, heard) }) ?? null;
    this.#dispatcher = this.#redis ?? new LocalDispatcher({ leaseMs });
    this.#runner = works
      ? new Runner({
          ...tools,
          records: new LedgerRecords(tools),
          dispatcher: this.#dispatcher,
          worker: localWorker,
          renewMs: leaseMs / 3,
        })
      : null;
    this.blobs = new Blobs(ledger, files);
    this.queue = new JobQueue({ ledger, history, dispatcher: this.#dispatcher, redis: this.#redis });
    this.results = new Results(ledger, history, files);
    this.atOnce = new AtOnce({ engine, ledger, defaults, env });
    const device = defaults.load.device ?? (process.platform === "darwin" ? "gpu" : "cpu");
    this.workers = new WorkerRegistry({ ledger, history, runner: this.#runner, device, leaseMs });
    this.catalogue = new Catalogue(defaults, this.workers, env);
    this.#upkeep = new Upkeep({ ...tools, blobs: this.blobs }, options);
    const { remote, workers } = this;
    const { reserve } = folder;
    this.#maintenance = new Maintenance({ reserve, upkeep: this.#upkeep, remote, workers, onProblem });
  }

  /**
   * Opens a data folder and continues the jobs it has.
   * @throws {ServiceError} `unavailable` if another process uses the folder, or its ledger cannot be used; {RedisTaken} if
   *   Redis has the jobs of another folder.
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
      const connect = options.redis === undefined ? null : await connectorTo(options.redis);
      const tools = { ledger, files, checkpoints, history, engine, defaults, onProblem, connect };
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
    const { jobs, settings } = this.#ledger;
    const isShared = this.#redis !== null;
    await this.#redis?.own();
    // Workers on other machines have gone on meanwhile.
    for (const job of jobs.running())
      if (isShared && job.worker !== localWorker) this.#history.goesOn(job);
      else this.#interrupted(job);
    this.remote.expectAll();
    for (const { id, cancelRequested } of jobs.queued())
      if (cancelRequested) this.#history.cancelledQueued(id);
    this.#dispatcher.onLost((attempt) => {
      this.#interrupted(attempt);
      this.#onMeasurement({ name: "takeover" });
    });
    if (settings.paused) await this.#dispatcher.pause();
    else await this.#dispatcher.resume();
    // A shared dispatcher compares itself with the ledger on its own.
    if (!isShared) for (const job of jobs.queued()) await this.#dispatcher.offer(offerOf(job));
    await this.#maintenance.run();
    this.#runner?.start();
  }

  #interrupted({ id, attempt }: Pick<JobRecord, "id" | "attempt">): void {
    interrupt({ history: this.#history, ledger: this.#ledger }, id, attempt);
  }

  /** Whether the worker of an attempt has been heard from, other than through the dispatcher. */
  #isHeard(attempt: Pick<JobRecord, "id" | "attempt">, withinMs: number): boolean {
    const own = this.#runner?.attempt;
    return (
      (own?.job === attempt.id && own.attempt === attempt.attempt) || this.remote.heard(attempt, withinMs)
    );
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
    // Other machines have their own files.
    if (this.#runner) requireEstimators(resolved, this.#defaults, this.#env);
    if (!(await this.#folder.reserve.restore())) throw diskFull();
    // No awaiting from here on, so that two requests with the same key, or for the last place in the queue, cannot both
    // pass.
    const meanwhile = earlier();
    if (meanwhile) return { job: meanwhile, created: false };
    this.#requireRoom();
    requireBlobs(blobs, this.#ledger);
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

  /**
   * Cancels a queued job at once; asks a running one to stop; leaves a finished one unchanged. @throws {ServiceError}
   * `not_found`
   */
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
        `The priority of a job can change only while it is queued; this one ${states[state]}.`,
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
   * @throws {ServiceError} `not_found`, `conflict` if the first has not finished, or as {@link submit}.
   */
  async retry(id: string): Promise<JobObject> {
    const job = this.#history.find(id);
    requireFinished(job, "tried again");
    const { kind, request, load, priority, previewEvery, metadata } = job;
    const body = { kind, request, load, priority, preview_every: previewEvery, metadata };
    return (await this.submit(body)).job;
  }

  /**
   * Deletes a job and everything that it made. @throws {ServiceError} `not_found`; `conflict` if it has not finished.
   */
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
    const { queued } = this.#history;
    if (queued >= this.#maxQueue)
      throw new ServiceError(
        "queue_full",
        `The queue is full: ${queued} jobs are waiting. Try again later.`,
        {
          retryAfterSeconds: 10,
        },
      );
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

  /** The same for the stream of all jobs, in parts: call again with the last event's id until a part is `complete`. */
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

  /** Receives live events of all jobs, except changes of position in the queue. @returns as {@link subscribe} */
  observe(listener: (event: StreamEvent) => void): () => void {
    return this.#history.hub.observe(listener);
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

  /** Image requests whose clients may come back. */
  readonly imageRequests = {
    all: (): readonly ImageRequestRecord[] => this.#ledger.imageRequests.all(),
    put: (request: ImageRequestRecord): void =>
      this.#ledger.write(() => this.#ledger.imageRequests.put(request)),
    remove: (content: string): void => this.#ledger.write(() => this.#ledger.imageRequests.remove(content)),
  } as const;

  async health(): Promise<Health> {
    return healthOf({
      ledger: this.#ledger,
      reserve: this.#folder.reserve,
      redis: this.#redis,
      onProblem: this.#onProblem,
    });
  }

  // ---------------------------------------------------------------- the service

  /** Copies the ledger and all files that it names into one archive. @throws as {@link backUp} */
  async backup(file: string): Promise<void> {
    await backUp(this.#folder.path, file);
  }

  /** Leaves the running job at its last checkpoint, and ends within a few seconds. */
  async close(): Promise<void> {
    this.#maintenance.close();
    await this.#runner?.stop();
    await this.#engine.close();
    await this.#dispatcher.close();
    this.#history.close();
    this.#ledger.close();
    this.#folder.close();
  }
}

const isFinished = ({ state }: JobRecord): boolean => state !== "queued" && state !== "running";

/** Makes the dispatcher that works through a Redis. */
type Connect = (options: Omit<RedisDispatcherOptions, "url">) => RedisDispatcher;

/** Loads BullMQ, which takes a third of the time that a server without Redis needs to start. */
async function connectorTo(url: string): Promise<Connect> {
  const { RedisDispatcher } = await import("../dispatch/redis/dispatcher.js");
  return (options) => new RedisDispatcher({ ...options, url });
}

/** @throws {ServiceError} `conflict` */
function requireFinished(job: JobRecord, verb: string): void {
  if (!isFinished(job))
    throw new ServiceError("conflict", `This job is ${job.state}; it can be ${verb} once it has finished.`);
}

const hashOf = (body: JobBody): string => createHash("sha256").update(JSON.stringify(body)).digest("hex");
