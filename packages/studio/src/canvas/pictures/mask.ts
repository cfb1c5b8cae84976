import type { DepthField } from "../field/depth-field.js";
import { maskSize } from "../field/mask.js";
import type { Size } from "../field/rectangle.js";

/**
 * Draws a mask as a picture of a photo's size; white areas may change.
 * @returns a bitmap that the caller closes
 */
export async function drawMask(mask: DepthField, { width, height }: Size): Promise<ImageBitmap> {
  const pixels = new ImageData(mask.width, mask.height);
  for (const [i, value] of mask.values.entries()) {
    pixels.data.fill(Math.round(255 * value), 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  return createImageBitmap(pixels, { resizeWidth: width, resizeHeight: height, resizeQuality: "medium" });
}

/** A bitmap as a PNG. */
export async function encodePicture(picture: ImageBitmap): Promise<Blob> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d")!.drawImage(picture, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** Reads a picture as the mask of a photo. White and transparent areas may change, as on the server. */
export function readMask(picture: ImageBitmap, photo: Size): DepthField {
  const { width, height } = maskSize(photo);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const values = Float32Array.from(
    { length: width * height },
    (_, i) => (0.299 * data[4 * i]! + 0.587 * data[4 * i + 1]! + 0.114 * data[4 * i + 2]!) / 255,
  );
  return { width, height, values };
}
