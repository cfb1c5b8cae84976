import { bilinear, resize } from "../images/resample.js";
import type { FloatImage, Raster } from "../images/types.js";
import type { FidelityComparison } from "./fidelity.js";

/** The colour is densest where depth differs by this share of the map's range or more. */
const strongest = 0.25;
/** The maximum opacity, so that some of the image stays visible. */
const densest = 0.85;

/** Orange-red where the image is nearer than the map, blue where it is farther. */
const [nearer, farther] = [
  [222, 73, 22],
  [26, 95, 214],
] as const;

/**
 * Shows where an image deviates from a map: the image in grey, coloured by the difference in depth.
 * @param image RGB
 * @returns RGB, 8 bits, of the image's size
 */
export function toHeatmap({ expected, fitted }: FidelityComparison, image: FloatImage): Uint8Array {
  const difference: Raster = {
    ...expected,
    data: fitted.data.map((value, i) => value - expected.data[i]!),
  };
  const { data } = resize(difference, image.width, image.height, bilinear);
  const out = new Uint8Array(data.length * 3);
  for (const [i, value] of data.entries()) {
    const cover = densest * Math.min(Math.abs(value) / strongest, 1);
    const grey = 255 * luminance(image.data, 3 * i);
    const colour = value > 0 ? nearer : farther;
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(grey + (colour[c]! - grey) * cover);
  }
  return out;
}

/** Luma of sRGB values, weighted as in ITU-R BT.601. */
const luminance = (rgb: Float32Array, at: number): number =>
  0.299 * rgb[at]! + 0.587 * rgb[at + 1]! + 0.114 * rgb[at + 2]!;
