/*
 * Reads a network's checkpoint from one file, as distributed by ComfyUI and others: with or without a prefix, possibly
 * together with other networks or in float8 with scales.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { astype, type MxArray, multiply, readSafetensorsHeader, reshape, scope } from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";
import { isRecord, recordIn } from "../record.js";
import { openCheckpointFile } from "./checkpoint.js";
import type { Checkpoint, StoredTensor } from "./format.js";
import { type BlockOptions, isGguf, openGguf } from "./gguf/checkpoint.js";

/** Prefixes of the denoising network. */
const prefixes = ["model.diffusion_model.", "diffusion_model.", "transformer."];
/** Prefixes of other networks in the same file. */
const otherNetworks = /^(vae|first_stage_model|text_encoders|cond_stage_model|conditioner|clip_l|t5xxl)\./;
/** Scales of a float8 weight, and those of its inputs, which only float8 products need. */
const scaleSuffix = /\.(scale_weight|weight_scale)$/;
const inputScaleSuffix = /\.(scale_input|input_scale)$/;
/** ComfyUI's marker of scaled files, and of each scaled layer. */
const fileMarker = "scaled_fp8";
const layerMarker = ".comfy_quant";
/** The metadata in which ComfyUI lists the quantized layers. */
const metadataKey = "_quantization_metadata";
/** The only supported quantization of ComfyUI. */
const float8 = "float8_e4m3fn";

/** Unsupported quantizations, each recognised by a tensor that only it has. */
const foreign: readonly (readonly [pattern: RegExp, what: string])[] = [
  [
    /\.(qweight|wscales|smooth_factor|lora_down|proj_down)$/,
    "it is quantized for Nunchaku (SVDQuant), whose 4-bit weights only its own CUDA kernels multiply",
  ],
  [
    /\.(absmax|quant_map|quant_state\..*)$/,
    "it is quantized by bitsandbytes, whose 4-bit formats are not read",
  ],
  [/\.(qzeros|g_idx)$/, "it is quantized by GPTQ or AWQ, whose formats are not read"],
];

/**
 * Opens a checkpoint in one safetensors or GGUF file: names without prefix, values of float8 weights multiplied by their scales.
 * Its header is checked, but no tensor is read.
 * @param options how to convert GGUF's blocks; to float32 by default.
 * @throws {ModelError} if it is damaged, or in an unsupported quantization, which the message names.
 */
export function openSingleFile(path: string, options: BlockOptions = {}): Checkpoint {
  const file = isGguf(path) ? openGguf(path, options) : openCheckpointFile(path);
  for (const [pattern, what] of foreign)
    if ([...file.entries.keys()].some((name) => pattern.test(name)))
      throw new ModelError(path, `${what}; get the weights as bfloat16, float8 or GGUF`);
  const quantized = quantizedLayers(file);
  const prefix = prefixes.find((one) => [...file.entries.keys()].some((name) => name.startsWith(one))) ?? "";
  const scales = new Map<string, string>();
  const entries = new Map<string, StoredTensor>();
  const fileOf = new Map<string, string>();
  for (const [name, entry] of file.entries) {
    const own = ownName(name, prefix);
    if (own === null) continue;
    const layer = scaledLayer(own);
    if (layer !== null) {
      requireScalar(path, name, entry);
      scales.set(`${layer}.weight`, name);
    } else {
      if (entries.has(own))
        throw new ModelError(path, `tensor "${own}" occurs with the prefix ${prefix} and without`);
      entries.set(own, entry);
      fileOf.set(own, path);
    }
  }
  for (const [weight, scale] of scales)
    if (!entries.has(weight))
      throw new ModelError(path, `tensor "${scale}" is a scale, but its weight ${weight} is missing`);
  for (const layer of quantized) {
    const own = ownName(layer, prefix);
    if (own !== null && !scales.has(`${own}.weight`))
      throw new ModelError(path, `the scale of the quantized layer "${layer}" is missing`);
  }
  return {
    ...file,
    entries,
    fileOf,
    // Float8 becomes float32 before further conversion.
    largest: Math.max(
      file.largest ?? 0,
      ...Array.from(entries.values(), ({ dtype, bytes }) => (dtype === "F8_E4M3" ? 4 * bytes : bytes)),
    ),
    bytes: [...entries.values()].reduce((sum, { bytes }) => sum + bytes, 0),
    *tensors() {
      const factors = new Map<string, MxArray>();
      const held: [string, MxArray][] = [];
      try {
        // Scales may come after their weights in the file. Nothing is read yet.
        for (const [name, tensor] of file.tensors()) {
          const own = ownName(name, prefix);
          const layer = own === null ? null : scaledLayer(own);
          if (layer !== null) factors.set(`${layer}.weight`, tensor);
          else if (own === null) tensor.dispose();
          else held.push([own, tensor]);
        }
        for (let next = held.shift(); next; next = held.shift()) {
          const [name, tensor] = next;
          const factor = factors.get(name);
          if (!factor) {
            yield [name, tensor];
            continue;
          }
          const scaled = scope(() => multiply(astype(tensor, "float32"), reshape(factor, [])));
          tensor.dispose();
          yield [name, scaled];
        }
      } finally {
        for (const [, tensor] of held) tensor.dispose();
        for (const factor of factors.values()) factor.dispose();
      }
    },
  };
}

/** The name of a tensor in its network; null for other networks, markers, and scales of inputs. */
function ownName(name: string, prefix: string): string | null {
  // Loading reports a tensor of an unknown network with its full name.
  const own = name.startsWith(prefix) ? name.slice(prefix.length) : name;
  if (!(prefix !== "" && name.startsWith(prefix)) && otherNetworks.test(name)) return null;
  return own === fileMarker || own.endsWith(layerMarker) || inputScaleSuffix.test(own) ? null : own;
}

/** The layer that a scale belongs to; null for other tensors. */
const scaledLayer = (name: string): string | null =>
  scaleSuffix.test(name) ? name.replace(scaleSuffix, "") : null;

function requireScalar(path: string, name: string, { dtype, shape }: StoredTensor): void {
  const size = shape.reduce((product, n) => product * n, 1);
  if (dtype !== "F32" || size !== 1)
    throw new ModelError(
      path,
      `the scale "${name}" is ${dtype} [${shape.join(", ")}]; expected one number in float32 for each weight`,
    );
}

/**
 * The layers that ComfyUI's metadata or markers say are scaled float8.
 * @throws {ModelError} if they name another quantization.
 */
function quantizedLayers({ source, metadata, entries }: Checkpoint): string[] {
  const listed: string[] = [];
  const text = metadata.get(metadataKey);
  if (text !== undefined) {
    const { layers } = jsonOf(source, metadataKey, text);
    for (const [layer, value] of Object.entries(isRecord(layers) ? layers : {})) {
      requireFloat8(source, layer, value);
      listed.push(layer);
    }
  }
  const markers = [...entries].filter(([name]) => name.endsWith(layerMarker));
  if (markers.length === 0) return listed;
  const { tensors } = readSafetensorsHeader(source);
  const file = openSync(source, "r");
  try {
    for (const [name, { bytes }] of markers) {
      // The JSON of a layer fits on one line.
      const buffer = Buffer.alloc(Math.min(bytes, 10_000));
      readSync(file, buffer, 0, buffer.length, tensors.get(name)!.start);
      requireFloat8(source, name, jsonOf(source, name, buffer.toString("utf8")));
    }
  } finally {
    closeSync(file);
  }
  return [...listed, ...markers.map(([name]) => name.slice(0, -layerMarker.length))];
}

function requireFloat8(source: string, layer: string, value: unknown): void {
  const format = isRecord(value) ? value.format : undefined;
  if (format !== float8)
    throw new ModelError(
      source,
      `the layer ${layer} is quantized as ${typeof format === "string" ? format : JSON.stringify(format)}, which is not read; only ${float8} is`,
    );
}

function jsonOf(source: string, name: string, text: string): Record<string, unknown> {
  const value = recordIn(text);
  if (value) return value;
  throw new ModelError(source, `"${name}" is not a JSON object, so the quantization is unknown`);
}
