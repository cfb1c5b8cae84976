import { adjustedMap, adjustmentsOf } from "../depth/adjustments.js";
import { readDepthMap, readPhoto } from "../images/decode.js";
import type { ResolvedRequest } from "../options/index.js";
import type { RequestImages } from "./stage.js";
import type { Warnings } from "./warnings.js";

/**
 * Reads the images that a request uses, and adjusts the depth map. A photo with no effect is not read.
 * @throws {ImageError} when one cannot be read.
 * @throws {MemoryError} when the machine has too little memory to decode one.
 * @throws the signal's reason when it is aborted.
 */
export async function readImages(
  request: ResolvedRequest,
  warnings: Warnings,
  signal: AbortSignal,
): Promise<RequestImages> {
  const { image, depthImage, imageStrength } = request;
  const read = depthImage === undefined ? null : await readDepthMap(depthImage, { signal });
  const depthMap = read && { ...read, ...adjustedMap(read, read.source, adjustmentsOf(request)) };
  const photo =
    image !== undefined && (!depthMap || imageStrength > 0) ? await readPhoto(image, { signal }) : null;
  for (const one of [depthMap, photo]) warnings.add(...(one?.warnings ?? []));
  return { depthMap, photo };
}
