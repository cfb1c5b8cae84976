/** What a job makes: an image, or a depth map from a photo. */
export const jobKinds = ["generate", "depth"] as const;
export type JobKind = (typeof jobKinds)[number];

export const jobStates = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof jobStates)[number];

/** A JSON value, as used in request options. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** Options by name, in snake_case. */
export type JsonOptions = Readonly<Record<string, Json>>;

/** The body of `POST /v1/jobs` and `POST /v1/plan`. */
export interface JobBody {
  readonly kind: JobKind;
  readonly request: JsonOptions;
  readonly load?: JsonOptions;
  /** Steps from one preview to the next; 0, the default, for none. */
  readonly preview_every?: number;
  /** Waiting jobs with a higher priority start first: −100 to 100, 0 by default. */
  readonly priority?: number;
  /** The client's own: at most 16 short strings, returned with the job. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A file that a job made. */
export interface ArtifactObject {
  readonly url: string;
  readonly width: number;
  readonly height: number;
  readonly mime: string;
  readonly bytes: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

export interface ImageObject extends ArtifactObject {
  readonly seed: number | null;
  /** Null unless the job compared several images. */
  readonly score: ScoreObject | null;
}

/** How faithfully an image keeps the depth map that it was made from. */
export interface ScoreObject {
  /** Root mean squared difference, on a scale where the map spans 0 to 255. Images are ranked by it, lowest first. */
  readonly rmse: number;
  /** Pearson's correlation with the map, −1 to 1. */
  readonly correlation: number;
  /** The mean relative error of distances. */
  readonly abs_rel: number;
  /** How well depth edges coincide, 0 to 1. */
  readonly edge_f1: number;
}

/** A job as every route returns it. */
export interface JobObject {
  readonly id: string;
  readonly kind: JobKind;
  readonly state: JobState;
  readonly cancel_requested: boolean;
  readonly priority: number;
  readonly starred: boolean;
  /** Times are ISO 8601 in UTC, with milliseconds. */
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
  /** An estimate of the queued jobs ahead; null once the job runs. */
  readonly position: number | null;
  /** 0 until the job starts for the first time. */
  readonly attempt: number;
  readonly step: number;
  /** For all images of the job together. Null for kind `depth`. */
  readonly steps: number | null;
  /** Of the first image. */
  readonly seed: number | null;
  /** The request with every default filled in, the seed drawn, and pictures as blob ids. */
  readonly request: JsonOptions;
  readonly load: JsonOptions;
  readonly preview_every: number;
  readonly warnings: readonly string[];
  readonly error: ErrorObject | null;
  /** The id of the worker that runs or ran it. */
  readonly worker: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** The best or only one. */
  readonly image: ImageObject | null;
  /** All of them, the most faithful first. */
  readonly images: readonly ImageObject[];
  readonly depth: ArtifactObject | null;
}

/** The error of an answer or of a failed job. */
export interface ErrorObject {
  readonly message: string;
  readonly type: ErrorType;
  /** The path of the field in the body, such as `request.steps`. */
  readonly param: string | null;
  readonly code: string;
}

export type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "not_found_error"
  | "conflict_error"
  | "rate_limit_error"
  | "server_error";
