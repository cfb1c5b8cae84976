import { closeSync, cpSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { readSafetensorsHeader } from "@mflux-depth/mlx";
import { at } from "./tensors.js";

/* Checkpoints of any size that take no disk: headers are written, values are holes in the file. */

export type Tensors = Readonly<Record<string, readonly [dtype: "BF16" | "U32", shape: readonly number[]]>>;

/** Writes a safetensors file of zeros. */
export function writeHoles(
  path: string,
  tensors: Tensors,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, [dtype, shape]] of Object.entries(tensors)) {
    const start = end;
    end += shape.reduce((product, n) => product * n, dtype === "U32" ? 4 : 2);
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path, "w");
  writeSync(file, Buffer.concat([length, text]));
  ftruncateSync(file, 8 + text.length + end);
  closeSync(file);
}

/**
 * Copies the bundled model, with a T5 of `blocks` blocks of 21 MB (5.9 MB at 4 bits). It loads, and encodes prompts;
 * the transformer takes narrower ones.
 */
export function writeLargeText(folder: string, blocks: number): void {
  const bundled = at("models/tiny-world");
  cpSync(bundled, folder, { recursive: true });
  const part = join(folder, "text_encoder_2");
  const config = JSON.parse(readFileSync(join(part, "config.json"), "utf8")) as object;
  const wide = { d_model: 1024, d_kv: 256, d_ff: 2048, num_layers: blocks };
  writeFileSync(join(part, "config.json"), JSON.stringify({ ...config, ...wide }));
  const tensors: Record<string, Tensors[string]> = {};
  for (const [name, { shape }] of readSafetensorsHeader(join(part, "model.safetensors")).tensors) {
    const large = shape.map((n) => (n === 128 ? 1024 : n === 256 ? 2048 : n));
    const copies = name.startsWith("encoder.block.1.") ? blocks - 1 : 1;
    for (let i = 1; i <= copies; i++) tensors[name.replace("block.1.", `block.${i}.`)] = ["BF16", large];
  }
  writeHoles(join(part, "model.safetensors"), tensors);
}
