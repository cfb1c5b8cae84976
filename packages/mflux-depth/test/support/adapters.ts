/* Adapter files from other tools, and what they give with the bundled model; see tools/goldens. */
import { join } from "node:path";
import { loadSafetensors, type MxArray, saveSafetensors } from "@mflux-depth/mlx";
import type { GenerateOptions } from "../../src/index.js";
import { rotaryTables } from "../../src/models/flux-conditioning.js";
import type { FluxTransformer } from "../../src/models/flux-transformer.js";
import { type LoadOptions, resolveLoadOptions } from "../../src/options/index.js";
import { Loras } from "../../src/pipeline/model/loras.js";
import { findModel, type Model, openModel } from "../../src/pipeline/model/model.js";
import { at, values } from "./tensors.js";
import { exampleImage } from "./tiny-world.js";

/** The path of an adapter file. */
export const adapterFile = (name: string): string => at(`test/golden/adapters/${name}.safetensors`);

const read = (name: string): Map<string, MxArray> => loadSafetensors(adapterFile(name)).arrays;

/** A golden tensor. */
export function expected(name: string): Float32Array {
  const found = read("expected").get(name);
  if (!found) throw new Error(`there is no golden ${name}`);
  return values(found);
}

/** The input of a golden. */
export const adapterInput = (name: string): MxArray => read("inputs").get(name)!;

/** The request of the goldens with latents. */
export const goldenRequest: GenerateOptions = {
  prompt: "a gold portrait, at sunset, light from the left",
  depthImage: exampleImage("portrait_depth.png"),
  width: 256,
  height: 256,
  steps: 4,
  guidance: 10,
};

/** Opens the bundled model with LoRAs, in float32 without 8-bit products unless options say otherwise. */
export async function openWithLoras(
  loras: NonNullable<LoadOptions["loras"]>,
  options: LoadOptions = {},
): Promise<Model> {
  const resolved = resolveLoadOptions({
    model: "tiny-world",
    dtype: "float32",
    quantize: "none",
    int8: false,
    ...options,
    loras,
  });
  const { files } = await findModel(resolved);
  return openModel(files, resolved, "cpu", { loras: await Loras.open(files, resolved) });
}

/**
 * The output of a model's transformer for the input of the goldens.
 * @param set "control." for the input of the control LoRA.
 */
export async function goldenOutput({ components }: Model, set = ""): Promise<Float32Array> {
  const transformer = (await components.transformer!.get()) as FluxTransformer;
  try {
    const encoderHiddenStates = adapterInput(`${set}encoder_hidden_states`);
    const textTokens = encoderHiddenStates.shape[1]!;
    return values(
      transformer.forward({
        hiddenStates: adapterInput(`${set}hidden_states`),
        encoderHiddenStates,
        pooledProjections: adapterInput(`${set}pooled_projections`),
        timestep: 0.7,
        guidance: 10,
        rotary: rotaryTables(transformer.config, { rows: 8, columns: 8, textTokens }),
      }),
    );
  } finally {
    components.transformer!.free();
  }
}

/** The output of the bundled transformer with LoRAs. */
export const outputWith = async (
  loras: NonNullable<LoadOptions["loras"]>,
  options: LoadOptions = {},
): Promise<Float32Array> => goldenOutput(await openWithLoras(loras, options));

/** Writes an adapter file again with other keys, and perhaps other tensors; returns its path. */
export async function rewritten(
  name: string,
  folder: string,
  change: (key: string, tensor: MxArray) => readonly (readonly [key: string, tensor: MxArray])[],
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<string> {
  const path = join(folder, `${name}-${counter++}.safetensors`);
  const arrays = new Map(Array.from(read(name)).flatMap(([key, tensor]) => change(key, tensor)));
  await saveSafetensors(path, arrays, metadata);
  return path;
}
let counter = 0;
