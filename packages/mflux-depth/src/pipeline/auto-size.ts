import { type Size, uprightSize } from "../images/upright-size.js";
import { type ResolvedRequest, requestOptions } from "../options/index.js";

/**
 * Gives a request with the size "auto" the proportions of its photo (or else of its depth map), and about as many
 * pixels as its width and height have. Reads only the header of the image.
 * @throws {ImageError} when the image cannot be read.
 */
export async function withAutoSize(request: ResolvedRequest): Promise<ResolvedRequest> {
  if (request.size !== "auto") return request;
  return { ...request, ...autoSize(await uprightSize(request.image ?? request.depthImage!), request) };
}

/**
 * The size with an image's proportions and about as many pixels as another size.
 * @returns multiples of 16 within the limits of width and height
 */
export function autoSize(image: Size, { width, height }: Size): Size {
  const scale = Math.sqrt((width * height) / (image.width * image.height));
  const { min, max, floorTo } = requestOptions.width.kind;
  const side = (length: number): number =>
    Math.min(Math.max(floorTo * Math.round((length * scale) / floorTo), min), max);
  return { width: side(image.width), height: side(image.height) };
}
