/*
 * The schedule of noise levels that denoising follows: flow matching with Euler steps.
 * diffusers: schedulers/scheduling_flow_match_euler_discrete.py and pipelines/flux/pipeline_flux_control.py. The shift
 * comes from "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al., 2024).
 *
 * A sigma is the share of noise in the latents: 1 is noise alone, 0 the image. We compute in float32 wherever the
 * reference does, so sigmas are equal to the last bit.
 */
import { ConfigReader } from "../models/config.js";

/** The values of a `scheduler_config.json`. */
export interface SchedulerConfig {
  /** Shift sigmas by the number of image tokens, instead of by the constant `shift`. */
  readonly useDynamicShifting: boolean;
  readonly timeShiftType: "exponential" | "linear";
  readonly shift: number;
  readonly baseShift: number;
  readonly maxShift: number;
  readonly baseImageSeqLen: number;
  readonly maxImageSeqLen: number;
  /** The timestep of sigma 1. */
  readonly numTrainTimesteps: number;
}

/** Settings of the reference that this schedule does not support, with the values that disable them. */
const unsupported = {
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  invert_sigmas: false,
  stochastic_sampling: false,
  shift_terminal: null,
};

/**
 * Reads a `scheduler_config.json`. Missing values get the reference's defaults.
 * @param source the file, for messages.
 * @throws {ModelError} when it is the config of another scheduler, a value is invalid, or a setting is not supported.
 */
export function schedulerConfig(json: unknown, source = "the scheduler's config"): SchedulerConfig {
  const reader = new ConfigReader(json, "a flow-matching Euler scheduler", source);
  reader.className("FlowMatchEulerDiscreteScheduler");
  for (const [key, off] of Object.entries(unsupported)) reader.only(key, off);
  return {
    useDynamicShifting: reader.flag("use_dynamic_shifting", false),
    timeShiftType: reader.oneOf("time_shift_type", ["exponential", "linear"], "exponential"),
    shift: reader.numberWithin("shift", 1, shifts),
    baseShift: reader.numberWithin("base_shift", 0.5, exponents),
    maxShift: reader.numberWithin("max_shift", 1.15, exponents),
    baseImageSeqLen: reader.count("base_image_seq_len", 256),
    maxImageSeqLen: reader.count("max_image_seq_len", 4096),
    numTrainTimesteps: reader.count("num_train_timesteps", 1000),
  };
}

/** Constant shifts with some denoising left at both ends. Published models use 1 to 12. */
const shifts = [0.01, 100] as const;

/** Values of μ whose exponential is such a shift, with a margin for steep lines. Published models use 0.5 to 2.05. */
const exponents = [-10, 10] as const;

/**
 * The shift μ for a number of image tokens: the line through the config's two points, extended beyond them.
 * (diffusers: pipeline_flux_control.py, `calculate_shift`.)
 */
export function mu(imageTokens: number, config: SchedulerConfig): number {
  const slope = (config.maxShift - config.baseShift) / (config.maxImageSeqLen - config.baseImageSeqLen);
  return imageTokens * slope + (config.baseShift - slope * config.baseImageSeqLen);
}

const f32 = Math.fround;

/**
 * The noise levels of a generation: `steps + 1` sigmas, falling from 1 to 0.
 * @param imageTokens tokens of the packed latents, without the text tokens.
 * @throws {RangeError} if the noise levels that the config gives do not decrease at this number of tokens.
 */
export function sigmas(steps: number, imageTokens: number, config: SchedulerConfig): Float32Array {
  const stride = steps > 1 ? (1 / steps - 1) / (steps - 1) : 0;
  const shifted = shiftOf(imageTokens, config);
  const levels = Float32Array.from({ length: steps + 1 }, (_, i) =>
    i === steps ? 0 : shifted(f32(1 + i * stride)),
  );
  if (!levels.every((level, i) => level >= 0 && level <= (levels[i - 1] ?? Number.MAX_VALUE)))
    throw new RangeError(
      `base_shift ${config.baseShift} at ${config.baseImageSeqLen} tokens and max_shift ${config.maxShift} at ${config.maxImageSeqLen} give noise levels that do not decrease for an image of ${imageTokens} tokens`,
    );
  return levels;
}

/**
 * The function that shifts sigmas towards noise: `s·σ / (1 + (s − 1)·σ)` for a constant shift `s`, and
 * `w / (w + 1/σ − 1)` for a dynamic one, with `w` = exp(μ) or μ.
 */
function shiftOf(imageTokens: number, config: SchedulerConfig): (sigma: number) => number {
  if (!config.useDynamicShifting) {
    const [shift, rest] = [f32(config.shift), f32(config.shift - 1)];
    return (sigma) => f32(f32(shift * sigma) / f32(1 + f32(rest * sigma)));
  }
  const m = mu(imageTokens, config);
  const weight = f32(config.timeShiftType === "linear" ? m : Math.exp(m));
  return (sigma) => f32(weight / f32(weight + f32(f32(1 / sigma) - 1)));
}

/** The timestep that the transformer receives for a sigma, 0 to 1. Scaling it up and down rounds it as the reference does. */
export const modelTime = (sigma: number, config: SchedulerConfig): number =>
  f32(f32(sigma * config.numTrainTimesteps) / config.numTrainTimesteps);

/** The factor of the velocity in an Euler step from one sigma to the next; negative, because sigmas fall. */
export const stepSize = (sigma: number, next: number): number => f32(next - sigma);

/**
 * The index of the step that a generation from a photo begins with: at sigma `s`, from `s · noise + (1 − s) · photo`.
 * (diffusers: pipeline_flux_control_img2img.py, `get_timesteps`, with `strength` = 1 − imageStrength.)
 * @param imageStrength the share of steps to skip, 0 to 1. At 1 all are skipped, and the encoded photo is decoded again.
 */
export function startIndex(steps: number, imageStrength: number): number {
  // In floating point, 1 − 0.42 differs from 0.58; without rounding, that would cost one step of 50.
  const strength = Math.round((1 - imageStrength) * 1e12) / 1e12;
  return Math.trunc(Math.max(steps - Math.min(steps * strength, steps), 0));
}
