import type { DepthJob, DepthResult } from "mflux-depth/engine";
import type { DepthMap } from "mflux-depth/images";
import { toOptionNames } from "mflux-depth/options";
import type { JsonOptions } from "../contract/index.js";

/** How a map is adjusted, from the options of kind `depth`. */
export function adjustmentsOf(request: JsonOptions): NonNullable<DepthJob["adjustments"]> {
  const { depthNear, depthFar, depthGamma, invertDepth } = toOptionNames(request);
  const given = { near: depthNear, far: depthFar, gamma: depthGamma, invert: invertDepth };
  return given as NonNullable<DepthJob["adjustments"]>;
}

/** The adjusted map of a result that was asked for as `npy`. */
export function mapOf({ map, width, height }: DepthResult): DepthMap {
  // NumPy's header comes first. Copied to be aligned for floats.
  const values = Uint8Array.from(map!.subarray(-4 * width * height));
  return { data: new Float32Array(values.buffer), width, height };
}
