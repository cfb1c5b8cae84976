import type { DepthField } from "./depth-field.js";
import type { Size } from "./rectangle.js";

/* Masks as fields: 1 may change, 0 stays, and values in between are mixed. */

/** Finer than the model sees, and small enough to paint without delay. */
const longestSide = 1024;

/** The size of the mask of a photo. */
export function maskSize({ width, height }: Size): Size {
  const scale = Math.min(1, longestSide / Math.max(width, height));
  const side = (length: number): number => Math.max(1, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

/** A mask that keeps the whole photo. */
export function blankMask(photo: Size): DepthField {
  const { width, height } = maskSize(photo);
  return { width, height, values: new Float32Array(width * height) };
}

/** A mask with changeable and kept parts exchanged. */
export const invertedMask = ({ width, height, values }: DepthField): DepthField => ({
  width,
  height,
  values: values.map((value) => 1 - value),
});

/** Whether a mask lets anything change. */
export const freesSomething = ({ values }: DepthField): boolean => values.some((value) => value > 0);
