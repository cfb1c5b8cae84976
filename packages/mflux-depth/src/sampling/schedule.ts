/*
 * The flow-matching Euler schedule: which noise levels a run goes through.
 * diffusers: schedulers/scheduling_flow_match_euler_discrete.py and pipelines/flux/pipeline_flux_control.py; the
 * shift is from "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al., 2024).
 * Sigma is the share of noise in the latents: 1 is noise alone, 0 the picture. Arithmetic is float32 where the
 * reference's is, so that sigmas are equal to the last bit.
 */
import { ModelError } from "../errors.js";

/** What `scheduler/scheduler_config.json` says; absent values are the reference's defaults. */
export interface SchedulerConfig {
  /** Shift by the number of image tokens; else by the constant `shift`. */
  readonly useDynamicShifting: boolean;
  readonly timeShiftType: "exponential" | "linear";
  readonly shift: number;
  readonly baseShift: number;
  readonly maxShift: number;
  readonly baseImageSeqLen: number;
  readonly maxImageSeqLen: number;
  /** What a sigma of 1 is as a timestep. */
  readonly numTrainTimesteps: number;
}

/**
 * Reads a scheduler's config.
 * @param source the file's name, for messages.
 * @throws {ModelError} for another scheduler, values that are not numbers, and variants that are not computed here.
 */
export function schedulerConfig(json: unknown, source = "scheduler_config.json"): SchedulerConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new ModelError(source, "must hold a JSON object.");
  const config = json as Record<string, unknown>;
  const given = (key: string): unknown => config[key] ?? undefined;

  const name = given("_class_name") ?? "FlowMatchEulerDiscreteScheduler";
  if (name !== "FlowMatchEulerDiscreteScheduler")
    throw new ModelError(source, `is for ${name}; FLUX.1 needs FlowMatchEulerDiscreteScheduler.`);
  for (const key of [
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
    "shift_terminal",
  ])
    if (given(key)) throw new ModelError(source, `asks for ${key}, which this version does not compute.`);

  const number = (key: string, fallback: number): number => {
    const value = given(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new ModelError(source, `${key} must be a number, not ${JSON.stringify(value)}.`);
    return value;
  };
  const timeShiftType = given("time_shift_type") ?? "exponential";
  if (timeShiftType !== "exponential" && timeShiftType !== "linear")
    throw new ModelError(source, `time_shift_type must be "exponential" or "linear".`);

  return {
    useDynamicShifting: given("use_dynamic_shifting") === true,
    timeShiftType,
    shift: number("shift", 1),
    baseShift: number("base_shift", 0.5),
    maxShift: number("max_shift", 1.15),
    baseImageSeqLen: number("base_image_seq_len", 256),
    maxImageSeqLen: number("max_image_seq_len", 4096),
    numTrainTimesteps: number("num_train_timesteps", 1000),
  };
}

/** The shift for a number of image tokens: a line through the config's two points, unclamped outside them. */
export function mu(imageTokens: number, config: SchedulerConfig): number {
  const slope = (config.maxShift - config.baseShift) / (config.maxImageSeqLen - config.baseImageSeqLen);
  return imageTokens * slope + (config.baseShift - slope * config.baseImageSeqLen);
}

const f32 = Math.fround;

/**
 * The noise levels of a run: `steps + 1` of them, falling from 1 to 0.
 * @param imageTokens tokens of the packed latents, `(height / 16) · (width / 16)`; text does not count.
 */
export function sigmas(steps: number, imageTokens: number, config: SchedulerConfig): Float32Array {
  const stride = steps > 1 ? (1 / steps - 1) / (steps - 1) : 0;
  const shifted = shiftOf(imageTokens, config);
  return Float32Array.from({ length: steps + 1 }, (_, i) => (i === steps ? 0 : shifted(f32(1 + i * stride))));
}

function shiftOf(imageTokens: number, config: SchedulerConfig): (sigma: number) => number {
  if (!config.useDynamicShifting) {
    const [shift, rest] = [f32(config.shift), f32(config.shift - 1)];
    return (sigma) => f32(f32(shift * sigma) / f32(1 + f32(rest * sigma)));
  }
  const m = mu(imageTokens, config);
  const weight = f32(config.timeShiftType === "linear" ? m : Math.exp(m));
  return (sigma) => f32(weight / f32(weight + f32(f32(1 / sigma) - 1)));
}

/**
 * The time that the transformer is told for a sigma: 0 to 1, through the scheduler's timestep and back, in float32.
 */
export const modelTime = (sigma: number, config: SchedulerConfig): number =>
  f32(f32(sigma * config.numTrainTimesteps) / config.numTrainTimesteps);

/** Euler's step: `latents + stepSize · velocity` takes the latents from one sigma to the next; it is negative. */
export const stepSize = (sigma: number, next: number): number => f32(next - sigma);

/**
 * The step at which a run that starts from a picture begins: at sigma `s`, with `s · noise + (1 − s) · picture`.
 * diffusers: pipeline_flux_control_img2img.py, `get_timesteps`, with its `strength` = 1 − imageStrength.
 * @param imageStrength the share of steps to skip, 0 to 1. At 1 no step is left: the picture is decoded as encoded.
 */
export function startIndex(steps: number, imageStrength: number): number {
  // 1 − 0.42 is not 0.58 in binary; unrounded it would cost a step of 50.
  const strength = Math.round((1 - imageStrength) * 1e12) / 1e12;
  return Math.trunc(Math.max(steps - Math.min(steps * strength, steps), 0));
}
