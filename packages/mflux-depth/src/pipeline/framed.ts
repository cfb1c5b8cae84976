import { place, placementOf } from "../images/fit.js";
import { lanczos } from "../images/resample.js";
import { resizeInSlices } from "../images/resample-in-slices.js";
import type { DecodedImage, FloatImage } from "../images/types.js";
import type { Generation } from "./stage.js";

/**
 * A photo or its mask at the size of the image, placed according to the request's `fit`; values in [0, 1].
 * @throws the signal's reason when it is aborted.
 */
export async function framed(
  image: DecodedImage,
  { request, signal }: Pick<Generation, "request" | "signal">,
): Promise<FloatImage> {
  const placement = placementOf(image.original, request, request.fit);
  const resized = await resizeInSlices(image, placement.width, placement.height, lanczos, signal);
  // The filter's negative lobes overshoot the range.
  const data = resized.data.map((value) => Math.min(Math.max(value, 0), 1));
  return place({ ...resized, data }, placement);
}
