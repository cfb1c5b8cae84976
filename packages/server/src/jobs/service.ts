import type { Readable } from "node:stream";
import type {
  BlobObject,
  EventData,
  JobBody,
  JobEvent,
  JobKind,
  JobObject,
  JobPage,
  JobState,
  ModelObject,
  PlanObject,
  QueueObject,
  StreamData,
  WorkerObject,
} from "../contract/index.js";
import type { ServiceOptions } from "./settings.js";

/** An event of any job, or about the queue, in the order of one stream. */
export type StreamEvent =
  | {
      [Name in keyof EventData]: {
        readonly id: number;
        readonly event: Name;
        readonly data: EventData[Name] & {
          readonly job: string;
          readonly attempt: number;
          readonly event_id: number;
        };
      };
    }[keyof EventData]
  | {
      [Name in keyof StreamData]: {
        readonly id: number;
        readonly event: Name;
        readonly data: StreamData[Name];
      };
    }[keyof StreamData];

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

/** Bytes with their format. */
export interface StoredPicture {
  readonly bytes: Uint8Array;
  readonly mime: string;
  readonly width: number;
  readonly height: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

/** A preview lives in memory only. */
export type PreviewPicture = Omit<StoredPicture, "sha256">;

/** Float32 values from 0 (far) to 1 (near), row by row. */
export interface FloatMap {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** How a depth map is adjusted. Percentiles are of the map before it is resized. */
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

export interface BlobLimits {
  readonly bytes: number;
  readonly pixels: number;
}

export interface Health {
  readonly ready: boolean;
  /** "ok", or one sentence about what is wrong. */
  readonly checks: Readonly<Record<"ledger" | "disk" | "engine", string>>;
}

/** Uploaded pictures. */
export interface Blobs {
  /**
   * Stores a picture. Nothing is left of one that is refused.
   * @returns `created` false if it was there already.
   * @throws {ServiceError} `unsupported_image`, `image_too_large`, `disk_full`.
   */
  put(picture: Readable | Uint8Array, limits?: BlobLimits): Promise<{ blob: BlobObject; created: boolean }>;
  /** @throws {ServiceError} `not_found`. */
  get(id: string): BlobObject;
  /** @throws {ServiceError} `not_found`, `damaged_file`. */
  open(id: string): Promise<StoredPicture>;
}

/**
 * Everything that the server does, without HTTP. Throws a {@link ServiceError} for what it refuses.
 *
 * Bodies were checked against the schemas before; pictures in them are `{blob: id}` or the id alone.
 */
export declare class JobService {
  private constructor();

  /**
   * Opens a data folder and continues the jobs it has.
   * @throws {ServiceError} `unavailable` if another process uses the folder, or its ledger is of a newer version.
   */
  static open(options: ServiceOptions): Promise<JobService>;

  /** @throws `queue_full`, `disk_full`, `idempotency_mismatch`, `model_not_found`, `invalid_image`, or the code of an option. */
  submit(body: JobBody, options?: SubmitOptions): Promise<{ job: JobObject; created: boolean }>;
  /** @throws `not_found` */
  get(id: string): JobObject;
  /** @throws `invalid_cursor` */
  list(filter?: JobFilter): JobPage;
  /** Cancels a queued job at once; asks a running one to end; leaves a finished one. */
  cancel(id: string): Promise<JobObject>;
  /** @throws `not_found`, `conflict` for the priority of a job that is not queued. */
  update(
    id: string,
    changes: { readonly starred?: boolean | undefined; readonly priority?: number | undefined },
  ): Promise<JobObject>;
  /** A new job with the same request and seed. @throws `not_found`, `conflict`, `queue_full`, `disk_full` */
  retry(id: string): Promise<JobObject>;
  /** @throws `not_found`, `conflict` while queued or running. */
  remove(id: string): Promise<void>;

  queue(): QueueObject;
  /** Jobs by state, for metrics. */
  counts(): Readonly<Record<JobState, number>>;
  pauseQueue(): Promise<QueueObject>;
  resumeQueue(): Promise<QueueObject>;

  /**
   * Events of a job after an id (0: all), oldest first: the durable ones, and the latest progress of a running attempt.
   * Call `subscribe` in the same turn of the event loop, and no event is missed or repeated.
   */
  events(id: string, after: number): { readonly past: readonly JobEvent[]; readonly finished: boolean };
  /** The same for the stream of all jobs, whose ids are its own. */
  eventsOfAll(after: number): readonly StreamEvent[];
  /** Live events of one job. @returns a function that ends the subscription. */
  subscribe(id: string, listener: (event: JobEvent) => void): () => void;
  /** Live events of all jobs. */
  subscribe(id: null, listener: (event: StreamEvent) => void): () => void;
  /** Resolves with the job once it has ended. @throws `not_found`; the signal's reason. */
  finished(id: string, signal?: AbortSignal): Promise<JobObject>;

  /**
   * The n-th picture of a job, from 1; the best or only one without a number.
   * @throws `not_found`, `job_not_finished`, `no_image`, `damaged_file`
   */
  image(id: string, number?: number): Promise<StoredPicture>;
  /** The latest preview. @throws `not_found` if that step's preview is gone or was never made. */
  preview(id: string, step: number): PreviewPicture;
  /** The depth map as the job used it. @throws `not_found`, `job_not_finished`, `no_image`, `damaged_file` */
  depthMap(id: string): Promise<FloatMap>;
  readonly blobs: Blobs;

  /** Estimates depth without a job, and without waiting for a running generation. */
  depth(picture: Uint8Array, adjustments: DepthAdjustments, signal?: AbortSignal): Promise<DepthAtOnce>;
  /** What a job would need. Starts nothing. */
  plan(body: JobBody, signal?: AbortSignal): Promise<PlanObject>;

  workers(): readonly WorkerObject[];
  /** @throws `not_found` */
  drain(id: string): Promise<WorkerObject>;
  /** @throws `not_found` */
  resume(id: string): Promise<WorkerObject>;
  models(): Promise<readonly ModelObject[]>;
  /** @throws `model_not_found` */
  model(id: string): Promise<ModelObject>;
  health(): Promise<Health>;

  /** Makes a consistent copy of the data folder in one file. */
  backup(file: string): Promise<void>;
  /** Leaves the running job at its last checkpoint and ends within ten seconds. */
  close(): Promise<void>;
}
