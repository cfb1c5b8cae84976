import { processor } from "../device.js";
import { native } from "../load.js";

/**
 * How attention in bfloat16 compares with float32: measured as faster or slower on this model of processor, never
 * measured on it, or unavailable because the processor lacks AVX512-BF16.
 */
export type Bfloat16Speed = "faster" | "slower" | "unmeasured" | "unavailable";

/**
 * Measurements by model of processor. The choice must not depend on a measurement at run time: the same machine would
 * round differently from run to run. `npm run bench -- kernels` prints the two speeds.
 */
const measured: readonly { readonly processors: RegExp; readonly speed: "faster" | "slower" }[] = [
  // Zen 4, the only models of the family that have the instructions: 340 instead of 190 G op/s on two cores of an EPYC.
  { processors: /^AuthenticAMD-19-/, speed: "faster" },
  // Sapphire Rapids: its dot products run at half the rate of float32; 148 instead of 248 G op/s on two cores.
  { processors: /^GenuineIntel-6-8F$/, speed: "slower" },
];

/**
 * Looks up a processor in the measurements.
 * @param model vendor, family and model, as returned by {@link processor}.
 */
export const measuredBfloat16Speed = (model: string): "faster" | "slower" | "unmeasured" =>
  measured.find(({ processors }) => processors.test(model))?.speed ?? "unmeasured";

/** How attention in bfloat16 compares with float32 on this machine. */
export const bfloat16AttentionSpeed = (): Bfloat16Speed =>
  native.multipliesBfloat16() ? measuredBfloat16Speed(processor()) : "unavailable";
