import { parseArgs } from "node:util";
import { backend } from "@mflux-depth/mlx";
import { benchDepth, benchRealDepth } from "./depth.js";
import { benchKernels } from "./kernels.js";
import { print, type Row } from "./measure.js";
import { benchMemory } from "./memory.js";
import { benchQuantization } from "./quantization.js";
import { benchBlocks, benchPictures } from "./step.js";

/*
 * `npm run bench -- [--json] [NAME …]`: times and memory on this machine. Ratios are of figures measured in the same
 * run. Each bench runs in this process, in the order below; name one alone for memory figures of its own. Those that
 * take many minutes or gigabytes of disk run only when they are named.
 */

const benches: Record<string, { title: string; run: () => Promise<Row[]>; named?: true }> = {
  pictures: { title: "The bundled checkpoint", run: benchPictures },
  quantization: { title: "Loss of each bit width, the bundled checkpoint", run: benchQuantization },
  depth: { title: "Depth of a photo", run: benchDepth },
  kernels: { title: "Linear layers and attention at FLUX.1 size", run: benchKernels },
  blocks: { title: "Blocks at FLUX.1 size, float32", run: () => benchBlocks([1024, 4096]) },
  memory: { title: "Loading a synthetic checkpoint of FLUX.1's widths", run: benchMemory, named: true },
  "real-depth": { title: "Depth of a photo at Depth Pro's sizes", run: benchRealDepth, named: true },
};

const { values, positionals } = parseArgs({ options: { json: { type: "boolean" } }, allowPositionals: true });
const unknown = positionals.find((name) => !(name in benches));
if (unknown !== undefined) {
  console.error(`no bench is called ${unknown}; there are ${Object.keys(benches).join(", ")}`);
  process.exit(2);
}
const { name, version, blas } = backend();
const machine = { mlx: `${version} (${name})`, blas: blas.name, threads: blas.threads };
const results: Record<string, Row[]> = {};
if (!values.json) console.log(`MLX ${machine.mlx}, ${machine.blas}, ${machine.threads} threads`);
const always = Object.keys(benches).filter((key) => !benches[key]!.named);
for (const key of positionals.length ? positionals : always) {
  const { title, run } = benches[key]!;
  results[key] = await run();
  if (!values.json) print(title, results[key]);
}
if (values.json) console.log(JSON.stringify({ machine, results }, null, 2));
