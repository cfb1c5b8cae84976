import type { ResolvedRequest } from "../options/index.js";
import { startIndex } from "../sampling/schedule.js";

/** The number of denoising steps of a generation: fewer than requested when it starts from a photo. */
export const stepsOf = ({ steps, imageStrength }: ResolvedRequest): number =>
  steps - startIndex(steps, imageStrength);
