import { type ReadImageOptions, readDepthMap } from "./decode.js";
import { encodeImage, toLevels } from "./encode.js";
import { toNpy } from "./npy.js";

/** A depth map. Values are 0 (far) to 1 (near), row by row. */
export interface DepthMap {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** 8-bit PNG, 16-bit PNG, or a NumPy array of float32. */
export type MapFormat = "png" | "png16" | "npy";

/** Encodes a depth map. */
export async function encodeMap(map: DepthMap, format: MapFormat): Promise<Uint8Array> {
  const { data, width, height } = map;
  if (format === "npy") return toNpy(data, width, height);
  const levels = toLevels({ data, width, height, channels: 1 }, format === "png16" ? 16 : 8);
  return encodeImage({ data: levels, width, height, channels: 1 }, "png");
}

/**
 * Reads the luminance of an encoded image, at full precision.
 * @throws as `readDepthMap`: among others {ImageError} for a map that is transparent or shows no relief.
 */
export async function decodeMap(bytes: Uint8Array, options: ReadImageOptions = {}): Promise<DepthMap> {
  const { data, width, height } = await readDepthMap(bytes, options);
  return { data, width, height };
}
