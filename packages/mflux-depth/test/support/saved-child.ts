/*
 * Runs as a separate process, to measure the peak memory of one or to kill it. Prints a JSON object.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { array, memory, scope } from "@mflux-depth/mlx";
import { Linear, Module } from "@mflux-depth/mlx/nn";
import { saveModel } from "../../src/index.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { type NamedArray, writeSafetensors } from "../../src/weights/writer.js";

const [mode, path = ""] = process.argv.slice(2);
const [layers, width] = [256, 512];

class Stack extends Module {
  readonly layers = Array.from({ length: layers }, () => new Linear(width, width, { bias: false }));
}

const peakBytes = (): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;

/** Writes the tensors and prints how much the peak memory of the process grew. */
async function write(file: string, tensors: NamedArray[]): Promise<void> {
  memory.clearCache();
  const before = peakBytes();
  await writeSafetensors(file, tensors, {});
  console.log(JSON.stringify({ grown: peakBytes() - before }));
}

switch (mode) {
  // Writes a dense checkpoint, each tensor made from a small one when it is written.
  case "make": {
    const row = array(Float32Array.from({ length: width }, (_, i) => Math.sin(i)));
    const { add, astype, broadcastTo, contiguous } = await import("@mflux-depth/mlx");
    const tensors = Array.from(
      { length: layers },
      (_, i): NamedArray => [
        `layers.${i}.weight`,
        scope(() => contiguous(astype(broadcastTo(add(row, i), [width, width]), "bfloat16"))),
      ],
    );
    await write(join(path, "model.safetensors"), tensors);
    break;
  }
  // Writes the checkpoint again, quantizing it.
  case "quantize": {
    const tensors: NamedArray[] = [];
    using module = new Stack();
    await loadWeights(module, openCheckpoint(path), {
      quantization: { bits: 4 },
      deliver: (key, parameters) => {
        for (const [name, array] of Object.entries(parameters))
          tensors.push([key.replace("weight", name), array]);
      },
    });
    await write(join(path, "quantized.safetensors"), tensors);
    break;
  }
  // Loads the checkpoint, quantizing it.
  case "load": {
    memory.clearCache();
    const before = peakBytes();
    using module = new Stack();
    await loadWeights(module, openCheckpoint(path), { quantization: { bits: 4 } });
    let held = 0;
    for (const one of module.parameters().values()) held += one.nbytes;
    console.log(JSON.stringify({ grown: peakBytes() - before, held }));
    break;
  }
  // Kills itself when a third of a model has been written.
  case "die":
    await saveModel({
      model: "tiny-world",
      path,
      onProgress: (event) => {
        if (event.state === "write" && event.bytes > event.totalBytes / 3)
          process.kill(process.pid, "SIGKILL");
      },
    });
    break;
  default:
    throw new Error(`unknown mode ${mode}`);
}
