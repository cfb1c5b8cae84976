/** Stable names of what the service refuses or reports: the `code` of an error object. */
export type ServiceErrorCode =
  /** No job, blob, artifact, preview or worker has that id. */
  | "not_found"
  /** A worker asked for something that belongs to another worker's job. */
  | "forbidden"
  /** The state of the job does not allow it. */
  | "conflict"
  | "job_not_finished"
  /** The job has ended without a picture. */
  | "no_image"
  | "idempotency_mismatch"
  | "queue_full"
  | "disk_full"
  /** A model that does not exist or may not be used here. */
  | "model_not_found"
  /** A model that may be used, but has damaged or missing files. */
  | "model_unusable"
  /** A picture in a job is missing, damaged or of an unsupported kind. */
  | "invalid_image"
  /** The same for an upload: the body is not a picture of a supported kind. */
  | "unsupported_image"
  | "image_too_large"
  | "invalid_cursor"
  | "invalid_value"
  | "out_of_range"
  | "missing"
  | "unknown_field"
  | "option_conflict"
  | "insufficient_memory"
  /** The engine's process ended again and again. */
  | "engine_crashed"
  | "engine_failed"
  /** The service is closing or its ledger cannot be used. */
  | "unavailable"
  /** A stored file does not have the content that it was stored with. */
  | "damaged_file"
  | "internal_error";

/** Facts about an error in addition to its message. */
export interface ServiceErrorFacts extends ErrorOptions {
  /** The path of the field in the body, such as `request.steps`. */
  readonly param?: string | null;
  /** When repeating the request may succeed. */
  readonly retryAfterSeconds?: number;
}

/** What the service refuses. Its message can be shown to any client: it holds no path, token or stack trace. */
export class ServiceError extends Error {
  readonly code: ServiceErrorCode;
  readonly param: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(code: ServiceErrorCode, message: string, facts: ServiceErrorFacts = {}) {
    const { param = null, retryAfterSeconds = null, ...options } = facts;
    super(message, options);
    this.code = code;
    this.param = param;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  override get name() {
    return "ServiceError" as const;
  }
}
