import { adjustedMap, adjustmentsOf } from "../depth/adjustments.js";
import { ImageError } from "../errors.js";
import { readDepthMap, readMask, readPhoto } from "../images/decode.js";
import { placementOf } from "../images/fit.js";
import type { DecodedImage } from "../images/types.js";
import type { ResolvedRequest } from "../options/index.js";
import type { RequestImages } from "./stage.js";
import type { Warnings } from "./warnings.js";

/**
 * Reads the images that a request uses, and adjusts the depth map. A photo with no effect is not read.
 * @throws {ImageError} if one cannot be read, or too little of it would remain.
 * @throws {MemoryError} when the machine has too little memory to decode one.
 * @throws the signal's reason when it is aborted.
 */
export async function readImages(
  request: ResolvedRequest,
  warnings: Warnings,
  signal: AbortSignal,
): Promise<RequestImages> {
  const { image, depthImage, maskImage, imageStrength } = request;
  const read = depthImage === undefined ? null : await readDepthMap(depthImage, { signal });
  const depthMap = read && { ...read, ...adjustedMap(read, read.source, adjustmentsOf(request)) };
  const mask = maskImage === undefined ? null : await readMask(maskImage, { signal });
  const isUsed = !depthMap || imageStrength > 0 || mask !== null;
  const photo = image !== undefined && isUsed ? await readPhoto(image, { signal }) : null;
  if (mask && photo) requireSameSize(mask, photo);
  for (const one of [depthMap, photo]) if (one) requireFraming(one, request);
  for (const one of [depthMap, photo, mask]) warnings.add(...(one?.warnings ?? []));
  return { depthMap, photo, mask };
}

/** A cropped image is enlarged first, so at least this share of it must remain. */
const leastKept = 1 / 16;

/** @throws {ImageError} if too little of an image would remain. */
function requireFraming({ source, original }: DecodedImage, canvas: ResolvedRequest): void {
  const { width, height } = placementOf(original, canvas, canvas.fit);
  if (canvas.width * canvas.height >= leastKept * width * height) return;
  throw new ImageError(
    source,
    `is ${original.width} × ${original.height} pixels; cropped to ${canvas.width} × ${canvas.height}, less than a sixteenth of it would remain. Choose another fit, or another size.`,
  );
}

/** @throws {ImageError} if a mask and its photo differ in size. */
function requireSameSize({ source, original: mask }: DecodedImage, { original: photo }: DecodedImage): void {
  if (mask.width === photo.width && mask.height === photo.height) return;
  throw new ImageError(
    source,
    `is ${mask.width} × ${mask.height} pixels, but the photo that it masks is ${photo.width} × ${photo.height}; make them the same size.`,
  );
}
