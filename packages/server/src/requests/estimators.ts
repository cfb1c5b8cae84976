import { missingEstimators } from "mflux-depth/engine";
import { ServiceError } from "../errors.js";
import type { JobRecord } from "../ledger/jobs.js";
import { bestOfCount } from "../options/best-of.js";
import { engineLoadOf } from "./engine-job.js";
import type { Defaults } from "./resolve.js";

/**
 * Refuses a job whose depth estimator or judge is not on this machine: a server downloads nothing, so the job would
 * wait for its turn and fail. Only the presence of pictures matters.
 * @param env Hugging Face's environment variables.
 * @throws {ServiceError} `model_not_found`
 */
export function requireEstimators(
  { kind, request, load }: Pick<JobRecord, "kind" | "request" | "load">,
  defaults: Defaults,
  env: NodeJS.ProcessEnv | undefined,
): void {
  const given = (name: string): Uint8Array | null => ((request[name] ?? null) === null ? null : anyPicture);
  const job = {
    load: engineLoadOf(load, defaults),
    request: { prompt: "", image: given("image"), depthImage: given("depth_image") },
    includeFidelity: bestOfCount(request) > 1,
  };
  const { estimator, judge } = missingEstimators(job, env);
  if (estimator !== null) {
    const remedies = [...(kind === "generate" ? ["send a depth_image"] : []), "choose another depth_model"];
    throw missing(
      "load.depth_model",
      `The depth estimator ${estimator} is not on the server's machine: ${remedies.join(", ")}`,
      estimator,
    );
  }
  if (judge !== null)
    throw missing(
      "request.best_of",
      `${judge}, which would score the images for best_of, is not on the server's machine: leave best_of out`,
      judge,
    );
}

const anyPicture = new Uint8Array(1);

const missing = (param: string, message: string, repository: string): ServiceError =>
  new ServiceError(
    "model_not_found",
    `${message}, or download the model there (mflux-depth download --depth-model ${repository}).`,
    { param },
  );
