/* Checkpoints in one file, made by other tools, and what they hold; see tools/goldens. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { astype, evaluateSync, loadSafetensors, type MxArray, scope } from "@mflux-depth/mlx";
import { rotaryTables } from "../../src/models/flux-conditioning.js";
import type { FluxTransformer } from "../../src/models/flux-transformer.js";
import { type LoadOptions, resolveLoadOptions } from "../../src/options/index.js";
import { findModel, type Model, openModel } from "../../src/pipeline/model/model.js";
import type { Checkpoint } from "../../src/weights/format.js";
import { at, values } from "./tensors.js";

const folder = "test/golden/one-file";

/** The path of a checkpoint. */
export const oneFile = (name: string): string => at(`${folder}/${name}`);

interface Expected {
  /** The small model of each file: "mini" or "wide". */
  readonly models: Readonly<Record<string, string>>;
  /** Of each tensor's float32 values, under the names of diffusers. */
  readonly sha256: Readonly<Record<string, Readonly<Record<string, string>>>>;
}
export const expectedOf: Expected = JSON.parse(readFileSync(oneFile("expected.json"), "utf8"));

/** A golden tensor. */
export const expectedTensor = (name: string): MxArray =>
  loadSafetensors(oneFile("expected.safetensors")).arrays.get(name)!;

/** The hash of each tensor's float32 values. */
export function hashesOf(
  checkpoint: Checkpoint,
  rename = (name: string): string => name,
): Record<string, string> {
  const hashes: Record<string, string> = {};
  for (const [name, tensor] of checkpoint.tensors()) {
    const data = scope(() => {
      const wide = astype(tensor, "float32");
      evaluateSync(wide);
      return wide.toTypedArray() as Float32Array;
    });
    tensor.dispose();
    hashes[rename(name)] = createHash("sha256").update(new Uint8Array(data.buffer)).digest("hex");
  }
  return hashes;
}

/** Opens a transformer in one file with the bundled model's other components, in float32 unless options say otherwise. */
export async function openOneFile(path: string, options: LoadOptions = {}): Promise<Model> {
  const resolved = resolveLoadOptions({
    model: path,
    componentsFrom: "tiny-world",
    dtype: "float32",
    quantize: "none",
    int8: false,
    ...options,
  });
  const { files } = await findModel(resolved);
  return openModel(files, resolved, "cpu");
}

/** The output of a model's transformer for the input of the goldens. */
export async function oneFileOutput({ components }: Model, inputs: string): Promise<Float32Array> {
  const component = components.transformer!;
  const transformer = (await component.get()) as FluxTransformer;
  try {
    const { arrays } = loadSafetensors(oneFile(`inputs-${inputs}.safetensors`));
    const tensor = (name: string): MxArray => arrays.get(name)!;
    const encoderHiddenStates = tensor("encoder_hidden_states");
    const textTokens = encoderHiddenStates.shape[1]!;
    return values(
      transformer.forward({
        hiddenStates: tensor("hidden_states"),
        encoderHiddenStates,
        pooledProjections: tensor("pooled_projections"),
        timestep: 0.7,
        guidance: 10,
        rotary: rotaryTables(transformer.config, { rows: 8, columns: 8, textTokens }),
      }),
    );
  } finally {
    component.free();
  }
}
