import type { ArtifactObject, ImageObject, JobObject } from "../contract/index.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { JobRecord } from "../ledger/jobs.js";
import { depthUrl, imageUrl } from "./urls.js";

/** The parts of a job object that are not in the ledger's record. */
export interface JobView {
  readonly artifacts: readonly ArtifactRecord[];
  /** The number of queued jobs ahead; null unless it is queued. */
  readonly position: number | null;
  /** The step of the running attempt; null without one. */
  readonly step: number | null;
}

/** The artifact with the depth map that clients see; its float32 values are {@link depthValues}. */
export const depthArtifact = "depth";
export const depthValues = "depth-values";
export const imageArtifact = (number: number): string => `image-${number}`;
/** The name of one of several images before they are ranked, from 1 in the order of seeds; clients do not see it. */
export const candidateArtifact = (number: number): string => `candidate-${number}`;

/** A job as every route returns it. */
export function jobObjectOf(job: JobRecord, { artifacts, position, step }: JobView): JobObject {
  const images = imagesOf(job.id, artifacts);
  const depth = artifacts.find(({ name }) => name === depthArtifact);
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    cancel_requested: job.cancelRequested,
    priority: job.priority,
    starred: job.starred,
    created_at: isoTime(job.createdAt),
    started_at: job.startedAt === null ? null : isoTime(job.startedAt),
    finished_at: job.finishedAt === null ? null : isoTime(job.finishedAt),
    position,
    attempt: job.attempt,
    step: step ?? job.step,
    steps: job.steps,
    seed: job.seed,
    request: job.request,
    load: job.load,
    preview_every: job.previewEvery,
    warnings: job.warnings,
    error: job.error,
    worker: job.worker,
    metadata: job.metadata,
    image: images[0] ? { ...images[0], url: imageUrl(job.id) } : null,
    images,
    depth: depth ? artifactObject(depth, depthUrl(job.id)) : null,
  };
}

function imagesOf(id: string, artifacts: readonly ArtifactRecord[]): readonly ImageObject[] {
  const images: ImageObject[] = [];
  for (let number = 1; ; number++) {
    const image = artifacts.find(({ name }) => name === imageArtifact(number));
    if (!image) return images;
    images.push({ ...artifactObject(image, imageUrl(id, number)), seed: image.seed, score: image.score });
  }
}

const artifactObject = (
  { width, height, mime, bytes, sha256 }: ArtifactRecord,
  url: string,
): ArtifactObject => ({ url, width, height, mime, bytes, sha256 });

const isoTime = (milliseconds: number): string => new Date(milliseconds).toISOString();
