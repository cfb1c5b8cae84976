import { array, type MxArray, saveSafetensors } from "@mflux-depth/mlx";

/** The shape of each tensor, and the value of all its elements. */
export type FilledTensors = Readonly<Record<string, readonly [shape: readonly number[], value: number]>>;

/** Writes a safetensors file of float32 tensors, each filled with one value; returns its path. */
export async function writeFilled(path: string, tensors: FilledTensors): Promise<string> {
  const arrays = new Map<string, MxArray>();
  for (const [key, [shape, value]] of Object.entries(tensors)) {
    const size = shape.reduce((product, n) => product * n, 1);
    arrays.set(key, array(new Float32Array(size).fill(value), { shape }));
  }
  await saveSafetensors(path, arrays, new Map([["format", "pt"]]));
  for (const one of arrays.values()) one.dispose();
  return path;
}
