import { rename, rm } from "node:fs/promises";
import { native } from "./load.js";
import { readSafetensorsHeader } from "./safetensors.js";
import type { MxArray } from "./types.js";

export interface Safetensors {
  /** The tensors, lazy: bytes are read when a tensor is evaluated. */
  arrays: Map<string, MxArray>;
  metadata: Map<string, string>;
}

/**
 * Opens a safetensors file. The header is checked first (see {@link readSafetensorsHeader}): MLX itself accepts
 * headers that crash it later.
 * @throws {SafetensorsError} when the file is not a sound safetensors file.
 */
export function loadSafetensors(path: string): Safetensors {
  const header = readSafetensorsHeader(path);
  const arrays = native.loadSafetensors(path) as Record<string, MxArray>;
  return { arrays: new Map(Object.entries(arrays)), metadata: header.metadata };
}

/**
 * Writes arrays to a safetensors file, evaluating them. The file appears whole or not at all.
 * @throws {MlxError} when it cannot be written.
 */
export async function saveSafetensors(
  path: string,
  arrays: ReadonlyMap<string, MxArray>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<void> {
  // MLX appends the extension to names without it.
  const beside = `${path}.${process.pid}.partial.safetensors`;
  try {
    native.saveSafetensors(beside, Object.fromEntries(arrays), Object.fromEntries(metadata));
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}
