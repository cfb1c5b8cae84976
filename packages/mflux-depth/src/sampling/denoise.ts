import { add, evaluate, type MxArray, multiply, scope, subtract } from "@mflux-depth/mlx";
import { stepSize } from "./schedule.js";

/** One denoising step is done. */
export interface DenoisedStep {
  /** From 1 to `total`. */
  readonly index: number;
  readonly total: number;
  /** The noise level that the step began at. */
  readonly sigma: number;
  /** Packed latents after the step, evaluated; the generator's own, valid until it is resumed. */
  readonly latents: MxArray;
  /** The noise-free latents that the model predicts at this step; the caller's to dispose. */
  predictClean(): MxArray;
}

/**
 * Euler's method for rectified flow (Liu et al., 2022): follows the velocity from noise to an image,
 * `x ← x + (σ′ − σ) · v(x, σ)`, and yields after each step.
 * @param start packed latents `[1, tokens, channels]` at the noise level `sigmas[0]`; owned by the generator.
 * @param sigmas noise levels, falling to 0; one more than there are steps.
 * @param velocity the model: packed latents at a noise level → velocity of the same shape, evaluated.
 * @returns the final latents, the caller's to dispose. `start` itself when there are no steps.
 * @throws the signal's reason when cancelled; nothing is left then.
 */
export async function* denoise(
  start: MxArray,
  sigmas: Float32Array,
  velocity: (latents: MxArray, sigma: number) => Promise<MxArray>,
  signal?: AbortSignal,
): AsyncGenerator<DenoisedStep, MxArray, void> {
  const total = sigmas.length - 1;
  let latents = start;
  let finished = false;
  try {
    for (let step = 0; step < total; step++) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      using v = await velocity(latents, sigma);
      const before = latents;
      latents = scope(() => add(before, multiply(v, stepSize(sigma, next))));
      before.dispose();
      await evaluate(latents, { signal });
      const current = latents;
      const predictClean = (): MxArray => scope(() => subtract(current, multiply(v, next)));
      yield { index: step + 1, total, sigma, latents, predictClean };
    }
    finished = true;
    return latents;
  } finally {
    if (!finished) latents.dispose();
  }
}
