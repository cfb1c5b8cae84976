/*
 * Estimates depth inside one of the engine's processes. Loads MLX.
 */
import { existsSync } from "node:fs";
import { checkAdjustments } from "../depth/adjustments.js";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { obtainEstimator } from "../depth/open.js";
import { estimatorOptionsOf } from "../depth/options.js";
import { folderHere } from "../hub/obtain.js";
import { encodeMap } from "../images/map.js";
import { resolveLoadOptions } from "../options/index.js";
import { cacheLimitOf } from "../pipeline/model/device.js";
import { repositoryOf } from "./models.js";
import type { DepthJob, DepthResult } from "./protocol.js";

/** Estimates depth, one photo at a time. Weights are freed after each; the last estimate is kept. */
export class DepthWork {
  #last: { readonly key: string; readonly estimator: DepthEstimator } | null = null;

  /**
   * Finds the estimator of a job, and downloads missing files unless the job is offline.
   * @throws {ModelError} when there is none, or it cannot be downloaded.
   */
  async estimatorOf({ load }: DepthJob, signal: AbortSignal): Promise<DepthEstimator> {
    const options = resolveLoadOptions(load);
    const wanted = {
      ...estimatorOptionsOf(options),
      cacheLimit: cacheLimitOf(options),
      modelFolder: folderHere(repositoryOf(options)) ?? undefined,
    };
    const key = JSON.stringify(wanted);
    // The folder may have been deleted since, and another revision downloaded.
    if (this.#last?.key !== key || !existsSync(this.#last.estimator.folder)) {
      const estimator = await obtainEstimator({ ...wanted, offline: options.offline, signal });
      this.#last = { key, estimator };
    }
    return this.#last.estimator;
  }

  /**
   * Estimates the depth of the job's photo with its estimator.
   * @throws {ImageError} when the photo cannot be read, or shows no depth.
   * @throws the signal's reason when it is aborted.
   */
  async estimate(
    { photo, adjustments = {}, encode }: DepthJob,
    estimator: DepthEstimator,
    signal: AbortSignal,
  ): Promise<DepthResult> {
    try {
      const estimate = await estimator.estimate(photo, { fieldOfView: false, signal });
      const { data, width, height } = estimate.inverseDepth;
      const map = encode ? await mapOf(estimate, adjustments, encode, signal) : null;
      return { width: estimate.width, height: estimate.height, inverse: { data, width, height }, map };
    } finally {
      estimator.free();
    }
  }
}

/** Encodes the adjusted map at the photo's size. */
function mapOf(
  estimate: DepthEstimate,
  adjustments: NonNullable<DepthJob["adjustments"]>,
  format: NonNullable<DepthJob["encode"]>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (format === "npy") return encodeMap(estimate.map(estimate.width, estimate.height, adjustments), "npy");
  const bits = format === "png16" ? 16 : 8;
  return estimate.encode({ ...checkAdjustments(adjustments), format: "png", bits, signal });
}
