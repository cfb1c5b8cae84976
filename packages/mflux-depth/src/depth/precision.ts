import { defaultDevice } from "@mflux-depth/mlx";
import { canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { OptionError } from "../errors.js";
import type { EstimatorLoadOptions } from "./estimator.js";
import type { EstimatorOptions } from "./options.js";

/** Whether the current device multiplies 8-bit inputs with 8-bit weights. */
export const multipliesDepthAsIntegers = (): boolean => defaultDevice() === "cpu" && canMultiplyIntegers(8);

/**
 * Chooses how a depth estimator's weights are held and multiplied on the current device, where the options leave it open.
 * @throws {OptionError} when 8-bit inputs are asked for, and the device cannot multiply them, or weights stay in float32.
 */
export function estimatorPrecision({
  depthQuantize,
  depthInt8,
}: EstimatorOptions): Required<Pick<EstimatorLoadOptions, "bits" | "int8">> {
  const canMultiply = multipliesDepthAsIntegers();
  if (depthInt8 && !canMultiply)
    throw new OptionError(
      "depthInt8",
      "depthInt8 needs a Linux CPU with AVX-512 VNNI or AVX-VNNI, as the device; this machine multiplies depth estimators in floats.",
      { details: { remedies: [{ kind: "omit-option", option: "depthInt8" }] } },
    );
  if (depthInt8 && depthQuantize === "none")
    throw new OptionError(
      "depthInt8",
      "depthInt8 multiplies 8-bit weights; set depthQuantize to 8, or leave one of the two out.",
      { code: "option-conflict" },
    );
  const bits = depthQuantize === 8 || (depthQuantize == null && (depthInt8 ?? canMultiply)) ? 8 : null;
  return { bits, int8: bits === 8 && (depthInt8 ?? canMultiply) };
}
