import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { memory } from "@mflux-depth/mlx";
import { FluxDepth } from "mflux-depth";
import { peakMlxMB, type Row, round } from "./measure.js";

/** Twelve heads of 128. */
const dims = 12 * 128;

/** Weights of a transformer with one double and two single blocks, under Black Forest Labs' names, as `[out, in]`. */
function matrices(): [name: string, rows: number, columns: number][] {
  const stream = (name: string): [string, number, number][] => [
    [`double_blocks.0.${name}_attn.qkv`, 3 * dims, dims],
    [`double_blocks.0.${name}_attn.proj`, dims, dims],
    [`double_blocks.0.${name}_mlp.0`, 4 * dims, dims],
    [`double_blocks.0.${name}_mlp.2`, dims, 4 * dims],
    [`double_blocks.0.${name}_mod.lin`, 6 * dims, dims],
  ];
  const single = (block: number): [string, number, number][] => [
    [`single_blocks.${block}.linear1`, 7 * dims, dims],
    [`single_blocks.${block}.linear2`, dims, 5 * dims],
    [`single_blocks.${block}.modulation.lin`, 3 * dims, dims],
  ];
  const embedder = (name: string, columns: number): [string, number, number][] => [
    [`${name}.in_layer`, dims, columns],
    [`${name}.out_layer`, dims, dims],
  ];
  return [
    ["img_in", dims, 128],
    ["txt_in", dims, 128],
    ...embedder("time_in", 256),
    ...embedder("vector_in", 64),
    ...embedder("guidance_in", 256),
    ...stream("img"),
    ...stream("txt"),
    ...single(0),
    ...single(1),
    ["final_layer.linear", 64, dims],
    ["final_layer.adaLN_modulation.1", 2 * dims, dims],
  ];
}

const norms = ["double_blocks.0.img_attn.norm", "double_blocks.0.txt_attn.norm"]
  .concat(["single_blocks.0.norm", "single_blocks.1.norm"])
  .flatMap((name) => [`${name}.query_norm.scale`, `${name}.key_norm.scale`]);

/** A tensor of a file: its type's name and number, and its bytes. */
interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: readonly [name: string, number: number];
  readonly bytes: number;
}

/** Block types: GGUF's number, values and bytes of a block. Safetensors have only those of one value. */
const types = {
  BF16: [30, 1, 2],
  F32: [0, 1, 4],
  F8_E4M3: [-1, 1, 1],
  Q8_0: [8, 32, 34],
  Q4_0: [2, 32, 18],
  Q4_K: [12, 256, 144],
  Q6_K: [14, 256, 210],
} as const;

function partsOf(type: keyof typeof types): Part[] {
  const part = (name: string, shape: readonly number[], kind: keyof typeof types): Part => {
    const [number, values, bytes] = types[kind];
    const count = shape.reduce((product, n) => product * n, 1);
    return { name, shape, type: [kind, number], bytes: (count / values) * bytes };
  };
  return [
    ...matrices().flatMap(([name, rows, columns]) => [
      part(`${name}.weight`, [rows, columns], columns % types[type][1] === 0 ? type : "BF16"),
      part(`${name}.bias`, [rows], "F32"),
    ]),
    ...norms.map((name) => part(name, [128], "F32")),
  ];
}

/** Writes a header, followed by the tensors' bytes as small finite numbers. */
function write(path: string, header: Buffer, sizes: readonly number[]): void {
  const file = openSync(path, "w");
  writeSync(file, header);
  for (const size of sizes) writeSync(file, Buffer.alloc(size, 0x11));
  closeSync(file);
}

function writeSafetensors(path: string, parts: readonly Part[]): void {
  let end = 0;
  const entries = parts.map(({ name, shape, type, bytes }) => {
    const start = end;
    end += bytes;
    return [name, { dtype: type[0], shape, data_offsets: [start, end] }];
  });
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  write(
    path,
    Buffer.concat([length, text]),
    parts.map(({ bytes }) => bytes),
  );
}

function writeGguf(path: string, parts: readonly Part[]): void {
  const aligned = (n: number): number => Math.ceil(n / 32) * 32;
  const u32 = (n: number): Buffer => Buffer.from(Uint32Array.of(n).buffer);
  const u64 = (n: number): Buffer => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
  let offset = 0;
  const tensors = parts.flatMap(({ name, shape, type, bytes }) => {
    const start = offset;
    offset += aligned(bytes);
    const text = Buffer.from(name);
    return [
      ...[u64(text.length), text, u32(shape.length), ...shape.toReversed().map(u64)],
      ...[u32(type[1]), u64(start)],
    ];
  });
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(parts.length), u64(0), ...tensors]);
  write(
    path,
    Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length)]),
    parts.map(({ bytes }) => aligned(bytes)),
  );
}

/** The time to read a transformer of 170 million parameters from one file in each format, quantized to 4 bits. */
export async function benchFormats(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-bench-formats-"));
  const rows: Row[] = [];
  try {
    for (const type of ["BF16", "F8_E4M3", "Q8_0", "Q6_K", "Q4_K", "Q4_0"] as const) {
      const parts = partsOf(type);
      const isGguf = type.startsWith("Q");
      const model = join(folder, isGguf ? "model.gguf" : "model.safetensors");
      (isGguf ? writeGguf : writeSafetensors)(model, parts);
      const megabytes = parts.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
      const times: number[] = [];
      memory.resetPeakMemory();
      for (let round = 0; round < 3; round++) {
        using flux = await FluxDepth.load({
          model,
          componentsFrom: "tiny-world",
          quantize: 4,
          onProgress(progress) {
            if ("component" in progress && progress.component === "transformer" && progress.state === "end")
              times.push(progress.seconds ?? 0);
          },
        });
        const data = Float32Array.from({ length: 128 * 128 }, (_, i) => i / 128 ** 2);
        const depthImage = { data, width: 128, height: 128, channels: 1 };
        await flux.generate({ prompt: "any", depthImage, width: 128, height: 128, steps: 1 });
      }
      const fastest = Math.min(...times);
      rows.push({
        name: type,
        "file MB": round(megabytes),
        "load s": round(fastest),
        "MB/s": round(megabytes / fastest),
        "peak MB": round(peakMlxMB()),
      });
      rmSync(model);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}
