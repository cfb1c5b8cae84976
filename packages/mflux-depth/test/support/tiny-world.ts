/* The bundled model in tests: loading it, a request that it fulfils quickly, and ways to compare results. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { memory } from "@mflux-depth/mlx";
import {
  FluxDepth,
  type FluxDepthOptions,
  type GenerateOptions,
  type GenerationEvent,
  type GenerationResult,
  type Picture,
  type StepEvent,
} from "../../src/index.js";
import { at } from "./tensors.js";

/** The folder of the bundled model. */
export const bundled = at("models/tiny-world");

/** The path of an example image. */
export const exampleImage = (name: string): string => join(at("../../examples/images"), name);

/** Loads the bundled model in full precision and low memory, unless options say otherwise. */
export const loadTinyWorld = (options: FluxDepthOptions = {}): Promise<FluxDepth> =>
  FluxDepth.load({ model: "tiny-world", quantize: "none", dtype: "float32", memory: "low", ...options });

/** A depth map of 64 × 64 pixels that comes nearer from left to right. */
export const gradientMap = {
  data: Uint8Array.from({ length: 64 * 64 }, (_, i) => 4 * (i % 64)),
  width: 64,
  height: 64,
  channels: 1,
};

/** A request that is quick, and large enough to use every layer of the model. */
export const smallRequest: GenerateOptions = {
  prompt: "a gold portrait, at sunset",
  // In memory, because decoding a file takes a process.
  depthImage: gradientMap,
  width: 32,
  height: 48,
  steps: 2,
  seed: 7,
};

/** Collects the steps of a generation, and its result. */
export async function collect(
  events: AsyncIterable<GenerationEvent>,
): Promise<{ steps: StepEvent[]; result: GenerationResult }> {
  const steps: StepEvent[] = [];
  for await (const event of events) {
    if (event.type === "step") steps.push(event);
    if (event.type === "result") return { steps, result: event.result };
  }
  return assert.fail("the generation has no result");
}

/** A hash of the image and the latents. */
export const digest = ({ image, latents }: GenerationResult): string =>
  createHash("sha256").update(image.data).update(new Uint8Array(latents.data.buffer)).digest("hex");

/** The mean difference of two images, in levels of 255. */
export const meanDifference = (a: Picture, b: Picture): number =>
  a.data.reduce((sum, level, i) => sum + Math.abs(level - b.data[i]!), 0) / a.data.length;

/** Bytes and arrays that MLX holds. */
export const inMemory = (): [bytes: number, handles: number] => [memory.activeMemory(), memory.liveHandles()];

/** Options that add the name of each component to `log` when its weights are read. */
export function logLoads(log: string[]): Pick<FluxDepthOptions, "onProgress"> {
  return {
    onProgress(progress) {
      if (progress.state === "start") log.push(progress.component);
    },
  };
}

/** Does something while the process sees a machine with `gigabytes` (10⁹ bytes) of memory. */
export async function onMachineWith<T>(gigabytes: number, action: () => Promise<T>): Promise<T> {
  const before = process.env.MFLUX_DEPTH_MEMORY_GB;
  process.env.MFLUX_DEPTH_MEMORY_GB = `${gigabytes}`;
  try {
    return await action();
  } finally {
    if (before === undefined) delete process.env.MFLUX_DEPTH_MEMORY_GB;
    else process.env.MFLUX_DEPTH_MEMORY_GB = before;
  }
}
