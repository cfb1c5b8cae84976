import { closeSync, cpSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { readSafetensorsHeader } from "@mflux-depth/mlx";
import { at } from "./tensors.js";

/* Checkpoints of any size that take no disk space: only headers are written, values are holes in the file. */

export type Tensors = Readonly<Record<string, readonly [dtype: "BF16" | "U32", shape: readonly number[]]>>;

/** Writes a safetensors file whose tensors are zeros. */
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
 * Copies the bundled model with a larger T5: `blocks` blocks of 21 MB (5.9 MB at 4 bits), whose inner layers are wider. The
 * model still generates images.
 */
export function writeLargeText(folder: string, blocks: number): void {
  const bundled = at("models/tiny-world");
  cpSync(bundled, folder, { recursive: true });
  const component = join(folder, "text_encoder_2");
  const config = JSON.parse(readFileSync(join(component, "config.json"), "utf8")) as Record<string, number>;
  const wide = { d_kv: 2048, d_ff: 16384, num_layers: blocks };
  writeFileSync(join(component, "config.json"), JSON.stringify({ ...config, ...wide }));
  const inner = config.num_heads! * wide.d_kv;
  const tensors: Record<string, Tensors[string]> = {};
  for (const [name, { shape }] of readSafetensorsHeader(join(component, "model.safetensors")).tensors) {
    const large = largeShape(name, shape, { inner, wide: wide.d_ff });
    const copies = name.startsWith("encoder.block.1.") ? blocks - 1 : 1;
    for (let i = 1; i <= copies; i++) tensors[name.replace("block.1.", `block.${i}.`)] = ["BF16", large];
  }
  writeHoles(join(component, "model.safetensors"), tensors);
}

/** Widens the inner side of a block's matrices: the rows of those that lead in, the columns of those that lead out. */
function largeShape(
  name: string,
  shape: readonly number[],
  { inner, wide }: { inner: number; wide: number },
): readonly number[] {
  const [rows, columns] = shape;
  const layer = name.split(".").at(-2)!;
  if (layer === "o") return [rows!, inner];
  if (layer === "wo") return [rows!, wide];
  if (layer.startsWith("wi_")) return [wide, columns!];
  return ["q", "k", "v"].includes(layer) ? [inner, columns!] : shape;
}
