import { OptionError } from "../errors.js";
import type { Fit } from "../images/fit.js";
import { checkOptions, requestOptions } from "../options/index.js";
import { checkAdjustments, type MapAdjustments } from "./adjustments.js";

/** How an image's map was derived from a file, which was a depth map or a photo. */
export interface Derivation {
  readonly fit: Fit;
  readonly adjustments: MapAdjustments;
}

/** The derivation when no options are given. */
const plain: Derivation = { fit: "stretch", adjustments: {} };

/**
 * Reads from an image's parameters how its map was derived.
 * @param parameters of the image, unchecked, if it has any
 * @param sha256 of the file that the image is compared with. A file that the image was not made from is used unchanged.
 */
export function derivationOf(parameters: Readonly<Record<string, unknown>> = {}, sha256: string): Derivation {
  const { depth_source: source, depth_image_sha256: map, image_sha256: photo } = parameters;
  if (sha256 !== map && sha256 !== photo) return plain;
  try {
    const { fit } = checkOptions({ fit: requestOptions.fit }, { fit: parameters.fit });
    const { depth_inverted: invert, depth_near: near, depth_far: far, depth_gamma: gamma } = parameters;
    // A photo next to a map is framed like the map.
    if (sha256 !== map && source !== "photo") return { ...plain, fit };
    return { fit, adjustments: checkAdjustments({ invert, near, far, gamma } as MapAdjustments) };
  } catch (error) {
    // Another program wrote the parameters.
    if (error instanceof OptionError) return plain;
    throw error;
  }
}
