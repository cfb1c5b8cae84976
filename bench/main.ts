import { parseArgs } from "node:util";
import { backend } from "@mflux-depth/mlx";
import { benchAdapters } from "./adapters.js";
import { benchBlocks, benchIntegerLoss } from "./blocks.js";
import { benchDepth, benchDepthAnything, benchRealDepth } from "./depth.js";
import { benchDispatch } from "./dispatch.js";
import { benchFidelity, benchScore } from "./fidelity.js";
import { benchGrowth, benchSimulation, benchThroughput } from "./fleet.js";
import { benchFormats } from "./formats.js";
import { benchImages } from "./images.js";
import { benchKernels } from "./kernels.js";
import { print, type Row } from "./measure.js";
import { benchMemory } from "./memory.js";
import { Peer } from "./peer.js";
import { benchPreviews } from "./previews.js";
import { benchQuantization } from "./quantization.js";
import { benchServer } from "./server.js";
import { benchDecode } from "./vae.js";

/*
 * `npm run bench -- [--json] [NAME …]` prints times and memory on this machine. Ratios compare figures of the same run.
 * All benches run in this process, in the order below; run one alone for memory figures unaffected by the others. Those
 * that take many minutes or gigabytes of disk run only when named. If `BENCH_PYTHON` names a Python with torch and
 * diffusers, the same work alternates with theirs.
 */

const benches: Record<string, { title: string; run: (peer: Peer | null) => Promise<Row[]>; named?: true }> = {
  images: { title: "The bundled checkpoint", run: benchImages },
  quantization: { title: "Loss of each bit width, the bundled checkpoint", run: benchQuantization },
  depth: { title: "Depth of a photo", run: benchDepth },
  score: { title: "Scoring an image, the bundled estimator", run: benchScore },
  previews: { title: "Fast previews", run: benchPreviews },
  kernels: { title: "Linear layers and attention at FLUX.1 size", run: benchKernels },
  blocks: {
    title: "One double and one single block at FLUX.1 size, an image of 256×256",
    run: (peer) => benchBlocks(peer, 16),
  },
  "blocks-512": {
    title: "One double and one single block at FLUX.1 size, an image of 512×512",
    run: (peer) => benchBlocks(peer, 32),
  },
  "blocks-1024": {
    title: "One double and one single block at FLUX.1 size, an image of 1024×1024",
    run: (peer) => benchBlocks(peer, 64),
    named: true,
  },
  adapters: {
    title: "Run-time LoRAs on one double and one single block at FLUX.1 size, an image of 512×512",
    run: benchAdapters,
  },
  formats: {
    title: "Reading a transformer of 170 million parameters from one file, quantized to 4 bits",
    run: benchFormats,
  },
  decode: { title: "Latents to an image at FLUX.1 size", run: benchDecode },
  server: { title: "The HTTP server, with the bundled model", run: benchServer },
  dispatch: {
    title: "Giving jobs to workers, in one process and over Redis (needs redis-server)",
    run: benchDispatch,
    named: true,
  },
  fleet: {
    title:
      "Workers with the bundled model, an API and a Redis as processes of this machine (needs redis-server)",
    run: benchThroughput,
    named: true,
  },
  "fleet-growth": {
    title: "What 100,000 waiting jobs take (needs redis-server)",
    run: () => benchGrowth(),
    named: true,
  },
  "fleet-simulation": {
    title: "Workers whose engines only wait (Linux; needs redis-server)",
    run: benchSimulation,
    named: true,
  },
  int8: {
    title: "Loss of 8-bit inputs, one double and one single block at FLUX.1 size",
    run: benchIntegerLoss,
  },
  memory: {
    title: "Loading and saving a synthetic checkpoint of FLUX.1's widths, 14 GB of disk",
    run: () => benchMemory(),
    named: true,
  },
  "real-memory": {
    title: "Loading and saving a synthetic checkpoint of FLUX.1's sizes, 45 GB of disk",
    run: () => benchMemory({ double: 19, single: 38 }),
    named: true,
  },
  "depth-anything": {
    title: "Depth of a photo at Depth Anything V2 Small's sizes",
    run: benchDepthAnything,
    named: true,
  },
  fidelity: { title: "Scores of tiny-world's images", run: benchFidelity, named: true },
  "real-depth": { title: "Depth of a photo at Depth Pro's sizes", run: benchRealDepth, named: true },
};

const { values, positionals } = parseArgs({ options: { json: { type: "boolean" } }, allowPositionals: true });
const unknown = positionals.find((name) => !(name in benches));
if (unknown !== undefined) {
  console.error(`There is no bench ${unknown}. Choose from ${Object.keys(benches).join(", ")}.`);
  process.exit(2);
}
const { name, version, blas } = backend();
const python = process.env.BENCH_PYTHON;
const peer = python
  ? await Peer.start(python, blas.threads).catch((error: Error) => {
      console.error(error.message);
      process.exit(2);
    })
  : null;
const machine = {
  mlx: `${version} (${name})`,
  blas: blas.name,
  threads: blas.threads,
  python: peer?.versions ?? null,
};
const results: Record<string, Row[]> = {};
if (!values.json) {
  console.log(`MLX ${machine.mlx}, ${machine.blas}, ${machine.threads} threads`);
  console.log(peer ? `compared with ${peer}` : "BENCH_PYTHON is not set: nothing to compare with");
}
const unnamed = Object.keys(benches).filter((key) => !benches[key]!.named);
for (const key of positionals.length ? positionals : unnamed) {
  const { title, run } = benches[key]!;
  results[key] = await run(peer);
  if (!values.json) print(title, results[key]);
}
await peer?.stop();
if (values.json) console.log(JSON.stringify({ machine, results }, null, 2));
