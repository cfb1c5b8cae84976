import type { ResolvedRequest } from "../options/index.js";
import type { Raster } from "./types.js";
import type { Size } from "./upright-size.js";

/**
 * How to fit an image to other proportions: "stretch" distorts it; "crop" cuts equal parts off two sides; "pad" repeats
 * the pixels at two sides.
 */
export type Fit = ResolvedRequest["fit"];

/** Where an image lies on a canvas. */
export interface Placement {
  /** The canvas. */
  readonly canvas: Size;
  /** The whole image on it, in pixels; may be larger than the canvas. */
  readonly width: number;
  readonly height: number;
  /** The position of the image's upper left corner on the canvas; negative if the image is cut off. */
  readonly left: number;
  readonly top: number;
}

/**
 * Places an image in the middle of a canvas: as large as the canvas ("stretch"), just covering it ("crop") or just inside
 * it ("pad").
 * @param image its size; only the proportions matter
 */
export function placementOf(image: Size, canvas: Size, fit: Fit): Placement {
  const [across, down] = [canvas.width / image.width, canvas.height / image.height];
  const scale = fit === "crop" ? Math.max(across, down) : Math.min(across, down);
  // The side that determines the scale has exactly the canvas's length.
  const side = (length: number, own: number, wanted: number): number =>
    fit === "stretch" || own === scale ? wanted : Math.max(1, Math.round(length * scale));
  const width = side(image.width, across, canvas.width);
  const height = side(image.height, down, canvas.height);
  return {
    canvas: { width: canvas.width, height: canvas.height },
    width,
    height,
    left: Math.floor((canvas.width - width) / 2),
    top: Math.floor((canvas.height - height) / 2),
  };
}

/**
 * Puts an image on its canvas: cuts off parts outside, and fills the rest by repeating the border pixels.
 * @param image resized to the placement's width and height
 * @returns a raster of the canvas's size; the image itself if it covers the canvas exactly
 */
export function place(image: Raster, { canvas, width, height, left, top }: Placement): Raster {
  if (width === canvas.width && height === canvas.height) return image;
  const { data, channels } = image;
  const out = new Float32Array(canvas.width * canvas.height * channels);
  const inside = (position: number, length: number): number => Math.min(Math.max(position, 0), length - 1);
  let o = 0;
  for (let y = 0; y < canvas.height; y++) {
    const row = inside(y - top, height) * width;
    for (let x = 0; x < canvas.width; x++) {
      const pixel = (row + inside(x - left, width)) * channels;
      for (let c = 0; c < channels; c++) out[o++] = data[pixel + c]!;
    }
  }
  return { data: out, width: canvas.width, height: canvas.height, channels };
}
