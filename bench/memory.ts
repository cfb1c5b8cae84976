import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";
import { memory } from "@mflux-depth/mlx";
import { FluxDepth, saveModel } from "mflux-depth";
import { peakResidentMB, type Row, resetPeakResident, round } from "./measure.js";
import { writeSynthetic } from "./synthetic.js";

/*
 * Memory and reading speed at FLUX.1's sizes, in a separate process: `node bench/dist/memory.js MODEL` loads a folder;
 * with `--save FOLDER` it saves the model with 4 bits.
 */

/** The weight files in a model's folder. */
const weightsIn = (model: string): string[] =>
  readdirSync(model, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(model, name));

/** Drops the files from the system's cache. @returns whether that worked: it needs GNU's tools. */
function forget(files: readonly string[]): boolean {
  try {
    execFileSync("sync", files, { stdio: "ignore" });
    for (const file of files)
      execFileSync("dd", [`if=${file}`, "iflag=nocache", "count=0"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** The speed at which `dd` reads the largest file. */
function readingSpeed(files: readonly string[]): { row: Row; bytesPerSecond: number } {
  const [largest] = files.toSorted((a, b) => statSync(b).size - statSync(a).size);
  const bytes = statSync(largest!).size;
  const cold = forget(files);
  const started = performance.now();
  execFileSync("dd", [`if=${largest}`, "of=/dev/null", "bs=16M"], { stdio: "ignore" });
  const seconds = (performance.now() - started) / 1000;
  const row: Row = {
    name: `dd, ${cold ? "from disk" : "possibly from memory"}`,
    s: round(seconds),
    "stored MB": round(bytes / 1e6),
    "MB/s": round(bytes / 1e6 / seconds),
  };
  return { row, bytesPerSecond: bytes / seconds };
}

/** One image of 256×256 in one step: time and memory of reading each component and running each stage. */
async function measure(model: string): Promise<Row[]> {
  const files = weightsIn(model);
  const { row, bytesPerSecond } = readingSpeed(files);
  forget(files);
  const rows: Row[] = [row];
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
      if (event.state === "download" || event.state === "read") return;
      if (event.state === "start") {
        memory.clearCache();
        resetPeakResident();
        before = memory.activeMemory();
        return;
      }
      const { component, bytes, seconds = 0 } = event;
      const held = memory.activeMemory() - before;
      rows.push({
        name: `load ${component}`,
        s: round(seconds),
        "stored MB": round(bytes / 1e6),
        "MB/s": round(bytes / 1e6 / seconds),
        "beyond dd s": round(seconds - bytes / bytesPerSecond),
        "held MB": round(held / 1e6),
        "resident peak MB": round(peakResidentMB()),
        "beyond held MB": round(peakResidentMB() - held / 1e6),
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

/** Time and memory of saving a model with 4 bits. */
async function measureSaving(model: string, path: string): Promise<Row[]> {
  forget(weightsIn(model));
  resetPeakResident();
  const started = performance.now();
  const { bytes } = await saveModel({ model, quantize: 4, path });
  return [
    {
      name: "save with 4 bits",
      s: round((performance.now() - started) / 1000),
      "stored MB": round(bytes / 1e6),
      "resident peak MB": round(peakResidentMB()),
    },
  ];
}

/** Writes a model of the real widths, measures loading and saving it and loading the saved model, and deletes both. */
export async function benchMemory(blocks = { double: 1, single: 1 }): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "synthetic-"));
  const [model, saved] = [join(folder, "model"), join(folder, "saved")];
  const child = async (...args: string[]): Promise<Row[]> => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      fileURLToPath(import.meta.url),
      ...args,
      "--json",
    ]);
    return JSON.parse(stdout) as Row[];
  };
  try {
    await writeSynthetic({ path: model, ...blocks });
    const [loading, saving] = [await child(model), await child(model, "--save", saved)];
    const again = await child(saved);
    return [...loading, ...saving, ...again.map((row) => ({ ...row, name: `saved: ${row.name}` }))];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values, positionals } = parseArgs({
    options: { json: { type: "boolean" }, save: { type: "string" } },
    allowPositionals: true,
  });
  const [model] = positionals;
  if (model === undefined) {
    console.error("usage: node bench/dist/memory.js MODEL [--save FOLDER] [--json]");
    process.exit(2);
  }
  const rows = await (values.save === undefined ? measure(model) : measureSaving(model, values.save));
  if (values.json) console.log(JSON.stringify(rows));
  else console.table(Object.fromEntries(rows.map(({ name, ...figures }) => [name, figures])));
}
