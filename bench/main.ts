import { parseArgs } from "node:util";
import { backend } from "@mflux-depth/mlx";
import { benchAdapters } from "./adapters.js";
import { benchBlocks, benchIntegerLoss } from "./blocks.js";
import { benchDepth, benchDepthAnything, benchRealDepth } from "./depth.js";
import { benchDispatch } from "./dispatch.js";
import { benchFidelity, benchScore } from "./fidelity.js";
import { benchGrowth, benchSimulation, benchThroughput, stopFleets } from "./fleet.js";
import type { FleetBench } from "./fleet-bench.js";
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
 * diffusers, the same work alternates with theirs. `--scale 0.01` makes the benches of many machines smaller, for a try.
 * Interrupted, it prints what it has measured so far.
 */

interface Bench {
  readonly title: string;
  /** Returns the rows of its table that it has not added. */
  readonly run: (peer: Peer | null, bench: FleetBench) => Promise<readonly Row[]>;
  readonly named?: true;
}

/** A bench that adds all its rows as they are known. */
const adding =
  (bench: (options: FleetBench) => Promise<void>): Bench["run"] =>
  async (_peer, options) => {
    await bench(options);
    return [];
  };

const benches: Record<string, Bench> = {
  images: { title: "The bundled checkpoint", run: benchImages },
  quantization: { title: "Loss of each bit width, the bundled checkpoint", run: benchQuantization },
  depth: { title: "Depth of a photo", run: benchDepth },
  score: { title: "Scoring an image, the bundled Depth Anything", run: benchScore },
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
    run: adding(benchThroughput),
    named: true,
  },
  "fleet-growth": {
    title: "What waiting jobs take (needs redis-server)",
    run: adding(benchGrowth),
    named: true,
  },
  "fleet-simulation": {
    title: "Workers whose engines only wait (Linux; needs redis-server)",
    run: adding(benchSimulation),
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

const { values, positionals } = parseArgs({
  options: { json: { type: "boolean" }, scale: { type: "string", default: "1" } },
  allowPositionals: true,
});
const scale = Number(values.scale);
if (!(scale > 0 && scale <= 1)) {
  console.error(`--scale must be above 0 and at most 1, not ${values.scale}.`);
  process.exit(2);
}
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

/** Prints the tables that are not printed yet. */
function printResults(note = ""): void {
  if (values.json) console.log(JSON.stringify({ machine, results }, null, 2));
  else if (current) print(`${benches[current]!.title}${note}`, results[current]!);
}

let current: string | null = null;
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, async () => {
    printResults(" (interrupted: not all of it)");
    await stopFleets();
    process.exit(130);
  });
for (const key of positionals.length ? positionals : unnamed) {
  const rows: Row[] = [];
  results[key] = rows;
  current = key;
  rows.push(...(await benches[key]!.run(peer, { scale, add: (row) => rows.push(row) })));
  if (!values.json) printResults();
  current = null;
}
await peer?.stop();
if (values.json) printResults();
