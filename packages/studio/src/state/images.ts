/*
 * The images of a job that makes several, ranked by how faithfully they keep the depth. Pure.
 */
import type { ImageObject, JobObject } from "@mflux-depth/server/contract";

/** How many images a job makes. */
export const imagesWanted = ({ request }: Pick<JobObject, "request">): number =>
  typeof request.best_of === "number" ? request.best_of : 1;

/** A job reduced to one of its images. */
export const withOnly = (job: JobObject, image: ImageObject): JobObject => ({
  ...job,
  seed: image.seed,
  request: { ...job.request, seed: image.seed, best_of: 1 },
  image,
  images: [image],
});

/** The image, counted from 1, to which a step of a job belongs. */
export const imageAt = (step: number, steps: number, count: number): number =>
  Math.min(count, Math.floor((Math.max(1, step) - 1) / (steps / count)) + 1);
