import type { DepthMap, Engine } from "mflux-depth/engine";
import type { JobBody, PlanObject } from "../contract/index.js";
import type { Ledger } from "../ledger/ledger.js";
import { mapOf } from "../requests/depth-job.js";
import { engineJobOf, engineLoadOf } from "../requests/engine-job.js";
import { requireEstimators } from "../requests/estimators.js";
import { serviceErrorOf } from "../requests/failure.js";
import { depthPartOf, planObjectOf } from "../requests/plan-object.js";
import { type Defaults, type ResolvedBody, resolveBody, resolveLoad } from "../requests/resolve.js";
import { workloadOf } from "../work/workload.js";
import { requireBlobs } from "./blob-check.js";

/** How to adjust a depth map. Percentiles refer to the map before resizing. */
export interface DepthAdjustments {
  readonly near?: number | undefined;
  readonly far?: number | undefined;
  readonly gamma?: number | undefined;
  readonly invert?: boolean | undefined;
}

/** A photo's depth map, and the values from which it was made. */
export interface DepthAtOnce {
  readonly map: DepthMap;
  /** The estimator's own values, at its own size: inverse depth, not limited to 0 to 1. */
  readonly inverse: DepthMap;
}

export interface AtOnceTools {
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly defaults: Defaults;
  /** Hugging Face's environment variables. */
  readonly env: NodeJS.ProcessEnv | undefined;
}

/** Answers requests immediately on this machine, without a job. */
export class AtOnce {
  readonly #engine: Engine;
  readonly #ledger: Ledger;
  readonly #defaults: Defaults;
  readonly #env: NodeJS.ProcessEnv | undefined;

  constructor({ engine, ledger, defaults, env }: AtOnceTools) {
    this.#engine = engine;
    this.#ledger = ledger;
    this.#defaults = defaults;
    this.#env = env;
  }

  /**
   * Estimates depth without a job, and without waiting for a running generation.
   * @param picture the bytes of a photo's file.
   * @throws {ServiceError} `invalid_image`, `insufficient_memory`, or the code of an adjustment.
   */
  async depth(
    picture: Uint8Array,
    adjustments: DepthAdjustments,
    signal?: AbortSignal,
  ): Promise<DepthAtOnce> {
    try {
      const given = resolveLoad({}, this.#defaults);
      requireEstimators(
        { kind: "depth", request: { image: "given" }, load: given },
        this.#defaults,
        this.#env,
      );
      const load = engineLoadOf(given, this.#defaults);
      const job = { load, photo: picture, adjustments, encode: "npy" } as const;
      const result = await this.#engine.estimateDepth(job, signal && { signal });
      return { map: mapOf(result), inverse: result.inverse };
    } catch (error) {
      signal?.throwIfAborted();
      throw serviceErrorOf(error, null);
    }
  }

  /**
   * Plans a job without starting it.
   * @throws {ServiceError} as for a submitted job, and if the model is not on this machine.
   */
  async plan(body: JobBody, signal?: AbortSignal): Promise<PlanObject> {
    const resolved = resolveBody(body, this.#defaults);
    requireBlobs(resolved.blobs, this.#ledger);
    const { kind } = resolved;
    try {
      // A plan depends only on whether pictures are present.
      const job = await engineJobOf(resolved, this.#defaults, async () => new Uint8Array(1));
      const request = kind === "depth" ? { image: job.request.image, prompt: "depth" } : job.request;
      const plan = await this.#engine.planJob({ ...job, request }, signal && { signal });
      return planObjectOf(kind === "depth" ? depthPartOf(plan) : plan, this.#estimatedSeconds(resolved));
    } catch (error) {
      signal?.throwIfAborted();
      throw serviceErrorOf(error);
    }
  }

  #estimatedSeconds(body: ResolvedBody): number | null {
    const duration = this.#ledger.durations.find(workloadOf(body));
    return duration && duration.otherSeconds + (body.steps ?? 0) * duration.stepSeconds;
  }
}
