import { kindOf, type PictureKind } from "./classify.js";

/** Pictures are shown with at most this many pixels a side: enough to fill any screen, and supported by every GPU. */
const longestSide = 4096;

/** The size of the central part that is examined to classify a picture. */
const sample = 512;

/**
 * Decodes a picture for display, upright. For jobs, the server decodes the file itself.
 * @returns a bitmap that the caller closes
 * @throws {DOMException} when the browser cannot decode it.
 */
export async function decodePicture(file: Blob): Promise<ImageBitmap> {
  const whole = await createImageBitmap(file);
  const scale = longestSide / Math.max(whole.width, whole.height);
  if (scale >= 1) return whole;
  const smaller = await createImageBitmap(whole, {
    resizeWidth: Math.max(1, Math.round(whole.width * scale)),
    resizeHeight: Math.max(1, Math.round(whole.height * scale)),
    resizeQuality: "high",
  });
  whole.close();
  return smaller;
}

/**
 * Tells whether a file is a photo or a depth map.
 * @param picture the file, decoded
 */
export async function classifyPicture(file: Blob, picture: ImageBitmap): Promise<PictureKind> {
  const header = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  const [width, height] = [Math.min(picture.width, sample), Math.min(picture.height, sample)];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(
    picture,
    Math.round((width - picture.width) / 2),
    Math.round((height - picture.height) / 2),
  );
  return kindOf(context.getImageData(0, 0, width, height), header);
}
