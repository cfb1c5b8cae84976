import { closeSync, openSync, readSync } from "node:fs";
import { loadBytes, type MxArray, scope } from "@mflux-depth/mlx";
import type { Checkpoint, StoredTensor } from "../format.js";
import { ggufValues } from "./blocks.js";
import { readGgufHeader } from "./header.js";

/** Tells whether a file begins like GGUF. */
export function isGguf(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const start = Buffer.alloc(4);
    return readSync(file, start, 0, 4, 0) === 4 && start.toString("latin1") === "GGUF";
  } finally {
    closeSync(file);
  }
}

/** Bytes per value while blocks become values: the result and its two factors in float32, and the integers before. */
const decodingBytes = 14;

/**
 * Opens a GGUF file. Blocks become float32 when they are read. Its header is checked, but no tensor is read.
 * @throws {ModelError} if it is damaged, or has a type that is not read.
 */
export function openGguf(path: string): Checkpoint {
  const { tensors, fields } = readGgufHeader(path);
  const entries = new Map<string, StoredTensor>();
  let [bytes, largest] = [0, 0];
  for (const [name, { type, shape, bytes: size }] of tensors) {
    entries.set(name, { dtype: type.name, shape, bytes: size });
    bytes += size;
    const values = (size / type.bytes) * type.values;
    largest = Math.max(largest, type.values > 1 ? decodingBytes * values : size);
  }
  return {
    source: path,
    files: [path],
    fileOf: new Map(Array.from(tensors.keys(), (name) => [name, path])),
    entries,
    metadata: new Map(Array.from(fields, ([name, value]) => [name, String(value)])),
    bytes,
    largest,
    *tensors() {
      const all = [...tensors];
      const stored = loadBytes(
        path,
        all.map(([, tensor]) => tensor),
      );
      try {
        for (const [index, [name, { type, shape }]] of all.entries()) {
          const values: MxArray = scope(() => ggufValues(stored[index]!, type, shape));
          stored[index]!.dispose();
          yield [name, values];
        }
      } finally {
        for (const one of stored) one.dispose();
      }
    },
  };
}
