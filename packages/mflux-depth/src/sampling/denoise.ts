import { add, all, evaluate, isfinite, type MxArray, multiply, scope, subtract } from "@mflux-depth/mlx";
import { stepSize } from "./schedule.js";

/** The state after one denoising step. */
export interface DenoisedStep {
  /** 1 to `total`. */
  readonly index: number;
  readonly total: number;
  /** The noise level at which the step began. */
  readonly sigma: number;
  /** Packed latents after the step, `[1, tokens, channels]`, evaluated. The generator disposes them when it resumes. */
  readonly latents: MxArray;
  /**
   * Whether all latents are finite; evaluated together with them, because a separate evaluation costs 1 % of a small
   * step.
   */
  readonly finite: boolean;
  /** The noise-free latents that the step's velocity points to, `x − σ · v`; the caller disposes them. */
  predictClean(): MxArray;
}

/**
 * Denoises by Euler's method for rectified flow (Liu et al., 2022): follows the velocity from noise to an image,
 * `x ← x + (σ′ − σ) · v(x, σ)`, and yields after each step.
 * @param start packed latents `[1, tokens, channels]` float32 at the noise level `sigmas[taken]`; the generator owns them.
 * @param sigmas noise levels that fall to 0, one more than there are steps.
 * @param velocity the model: latents `[1, tokens, channels]` and their noise level → velocity of the same shape.
 * @returns the final latents, `[1, tokens, channels]`, which the caller disposes; `start` itself when no steps are left.
 * @throws the signal's reason when it is aborted, and errors of `velocity`. In that case, all latents are disposed.
 */
export async function* denoise(
  start: MxArray,
  sigmas: Float32Array,
  velocity: (latents: MxArray, sigma: number) => Promise<MxArray>,
  {
    signal,
    taken = 0,
    keep = (moved) => moved,
  }: {
    readonly signal?: AbortSignal | undefined;
    /** Steps that led to `start`; 0 by default. */
    readonly taken?: number;
    /** Restores the unchangeable parts of the latents after a step, at their noise level. */
    readonly keep?: (moved: MxArray, sigma: number) => MxArray;
  } = {},
): AsyncGenerator<DenoisedStep, MxArray, void> {
  const total = sigmas.length - 1;
  let latents = start;
  let finished = false;
  try {
    for (let step = taken; step < total; step++) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      using v = await velocity(latents, sigma);
      const before = latents;
      latents = scope(() => keep(add(before, multiply(v, stepSize(sigma, next))), next));
      before.dispose();
      const current = latents;
      using finite = scope(() => all(isfinite(current)));
      await evaluate([latents, finite], { signal });
      const predictClean = (): MxArray => scope(() => subtract(current, multiply(v, next)));
      yield { index: step + 1, total, sigma, latents, finite: finite.item() as boolean, predictClean };
    }
    finished = true;
    return latents;
  } finally {
    if (!finished) latents.dispose();
  }
}
