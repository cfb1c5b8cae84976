import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { memory } from "@mflux-depth/mlx";
import { FluxDepth } from "mflux-depth";
import { peakResidentMB, type Row, resetPeakResident, round } from "./measure.js";
import { writeSynthetic } from "./synthetic.js";

/*
 * Memory at FLUX.1's sizes, in a process of its own: `node bench/dist/memory.js MODEL` for one that is there.
 */

/** One picture of 256×256 in one step: what each component takes to read, and each stage to run. */
async function measure(model: string): Promise<Row[]> {
  const rows: Row[] = [];
  const size = 256;
  const map = {
    data: new Uint8Array(size * size).map((_, i) => i % 256),
    width: size,
    height: size,
    channels: 1,
  };
  let before = 0;
  using flux = await FluxDepth.load({
    model,
    quantize: 4,
    memory: "low",
    onProgress: (event) => {
      if (event.state === "download") return;
      if (event.state === "start") {
        memory.clearCache();
        resetPeakResident();
        before = memory.activeMemory();
        return;
      }
      const held = memory.activeMemory() - before;
      rows.push({
        name: `load ${event.component}`,
        s: round(event.seconds ?? 0),
        "stored MB": round(event.bytes / 1e6),
        "MB/s": round(event.bytes / 1e6 / (event.seconds ?? 1)),
        "quantized MB": round(held / 1e6),
        "resident peak MB": round(peakResidentMB()),
        "beyond quantized MB": round(peakResidentMB() - held / 1e6),
      });
      resetPeakResident();
    },
  });
  for await (const event of flux.steps({
    prompt: "a red cone and a blue cube, on grass",
    depthImage: map,
    width: size,
    height: size,
    steps: 1,
    seed: 1,
  }))
    if (event.type === "stage" && event.state === "end")
      rows.push({
        name: `stage ${event.stage}`,
        s: round(event.seconds),
        "resident peak MB": round(peakResidentMB()),
      });
  return rows;
}

/** Writes a checkpoint of the real sizes with few transformer blocks, measures it, deletes it. */
export async function benchMemory(blocks = { double: 1, single: 1 }): Promise<Row[]> {
  const path = mkdtempSync(join(tmpdir(), "synthetic-"));
  try {
    await writeSynthetic({ path, ...blocks });
    const program = [fileURLToPath(import.meta.url), path, "--json"];
    const { stdout } = await promisify(execFile)(process.execPath, program);
    return JSON.parse(stdout) as Row[];
  } finally {
    rmSync(path, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [model, json] = process.argv.slice(2);
  if (model === undefined) {
    console.error("usage: node bench/dist/memory.js MODEL [--json]");
    process.exit(2);
  }
  const rows = await measure(model);
  if (json === "--json") console.log(JSON.stringify(rows));
  else console.table(Object.fromEntries(rows.map(({ name, ...figures }) => [name, figures])));
}
