import { rename, rm } from "node:fs/promises";
import { native } from "./load.js";
import { readSafetensorsHeader } from "./safetensors.js";
import type { MxArray } from "./types.js";

export interface Safetensors {
  /** The tensors by name. They are lazy: evaluating one reads its bytes. */
  arrays: Map<string, MxArray>;
  metadata: Map<string, string>;
}

/**
 * Opens a safetensors file. Checks the header first (see {@link readSafetensorsHeader}), because MLX accepts headers
 * that crash it later.
 * @throws {SafetensorsError} if the file is not a valid safetensors file.
 */
export function loadSafetensors(path: string): Safetensors {
  const header = readSafetensorsHeader(path);
  const arrays = native.loadSafetensors(path) as Record<string, MxArray>;
  return { arrays: new Map(Object.entries(arrays)), metadata: header.metadata };
}

/**
 * Opens parts of a file as arrays of uint8, which are read when they are evaluated. The parts share one descriptor.
 * @param parts their first byte and their size; none overlap.
 * @throws {MlxError} if the file cannot be opened; evaluating a part that extends past the end of the file fails.
 */
export function loadBytes(
  path: string,
  parts: readonly { readonly start: number; readonly bytes: number }[],
): MxArray[] {
  const tensors = parts.map(({ start, bytes }, index) => [
    `${index}`,
    { dtype: "U8", shape: [bytes], data_offsets: [start, start + bytes] },
  ]);
  const arrays = native.loadHeaded(path, JSON.stringify(Object.fromEntries(tensors)));
  return parts.map((_, index) => arrays[index]!);
}

/**
 * Evaluates arrays and writes them to a safetensors file. The write is atomic.
 * @throws {MlxError} if the file cannot be written.
 */
export async function saveSafetensors(
  path: string,
  arrays: ReadonlyMap<string, MxArray>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<void> {
  // MLX appends the extension to names that lack it.
  const partial = `${path}.${process.pid}.partial.safetensors`;
  try {
    native.saveSafetensors(partial, Object.fromEntries(arrays), Object.fromEntries(metadata));
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
