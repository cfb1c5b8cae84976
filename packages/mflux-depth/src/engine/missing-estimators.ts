import { isComplete } from "../hub/obtain.js";
import { modelsOf } from "./models.js";
import { kindOf } from "./needed-model.js";
import type { EngineJob } from "./protocol.js";

/** The missing depth estimators of a job: repositories, or null for those that are on this machine. */
export interface MissingEstimators {
  /** Makes the depth map of a photo. */
  readonly estimator: string | null;
  /** Scores the image. */
  readonly judge: string | null;
}

/**
 * Looks for the depth estimators of a job before it starts, for a program that downloads nothing.
 * @param job.request.image any photo: only the presence of a photo and of a depth map matters.
 * @param env Hugging Face's environment variables.
 * @throws {OptionError} for an invalid option.
 */
export function missingEstimators(
  { load, request, includeFidelity = false }: Pick<EngineJob, "load" | "request" | "includeFidelity">,
  env: NodeJS.ProcessEnv = process.env,
): MissingEstimators {
  const missingFor = (job: Parameters<typeof modelsOf>[0]): string | null =>
    modelsOf(job, env).find(
      (needed) => needed.purpose === "depth" && !isComplete(needed.source, kindOf(needed), env),
    )?.source.model ?? null;
  return {
    estimator: missingFor({ load, request }),
    judge: includeFidelity
      ? missingFor({ load, request: { ...request, image: null }, includeFidelity })
      : null,
  };
}
