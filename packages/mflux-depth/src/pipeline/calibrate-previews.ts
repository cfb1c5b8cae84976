import type { Module } from "@mflux-depth/mlx/nn";
import { encodeImage, encodingMemory, unpackedLatents } from "./autoencode.js";
import type { Model } from "./model/model.js";
import { calibrationImage } from "./previews/calibration-image.js";
import type { Generation } from "./stage.js";

/** The size of the image that fast previews are fitted to: it has many more latents than there are coefficients. */
const size = { width: 256, height: 256 };

/**
 * Prepares the fast previews of a model, unless that has been done, by encoding a small image.
 * @param network the autoencoder
 * @throws the signal's reason when it is aborted.
 */
export async function calibratePreviews(
  network: Module,
  { fastPreviews, request, model, signal }: Generation,
): Promise<void> {
  if (fastPreviews.isCalibrated) return;
  const grid = model.family.latentGrid(size, model.configs);
  const context = { request: { ...request, ...size }, grid, model, signal };
  const image = calibrationImage(size.width);
  using packed = await encodeImage(image, network, "control", context);
  fastPreviews.calibrate(await unpackedLatents(packed, context), image);
}

/** Estimates the bytes that {@link calibratePreviews} takes. */
export const calibrationMemory = (model: Model, room: number): number => encodingMemory(size, model, room);
