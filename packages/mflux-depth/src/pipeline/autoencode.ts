/*
 * Encodes images to packed latents and decodes them back with the VAE, and estimates the memory of both.
 */
import { array, astype, evaluate, type MxArray, scope } from "@mflux-depth/mlx";
import { type Module, runStages } from "@mflux-depth/mlx/nn";
import { toBytes, toModelInput } from "../images/model-input.js";
import type { FloatImage } from "../images/types.js";
import { workingRoom } from "../memory/machine.js";
import type { Arithmetic } from "../models/layer-plan.js";
import { latentShape, toChannelsFirst } from "../sampling/latents.js";
import { bytesPerValue } from "../weights/component.js";
import type { StageName } from "./events.js";
import { requireFinite } from "./finite.js";
import type { Model } from "./model/model.js";
import { componentDType } from "./model/precision.js";
import type { Latents, Picture } from "./result.js";
import type { Generation, Workload } from "./stage.js";

type AutoencoderContext = Pick<Generation, "request" | "grid" | "model" | "signal">;

/**
 * Encodes an image, stretched to the requested size, to packed latents `[1, tokens, channels]` float32.
 * @param stage the stage that encodes it, for messages.
 * @throws {ModelError} when the latents are not finite.
 * @throws the signal's reason when it is aborted.
 */
export async function encodeImage(
  image: FloatImage,
  network: Module,
  stage: StageName,
  context: AutoencoderContext,
): Promise<MxArray> {
  const { grid, model, signal } = context;
  const { packing, autoencoding } = model.family;
  const { width, height } = context.request;
  const input = await toModelInput(image, width, height, signal);
  using pixels = array(input, { shape: [1, height, width, 3] });
  using mode = await runStages(autoencoding.encode(network, pixels, workingRoom()), { signal });
  const packed = scope(() => packing.pack(autoencoding.scale(astype(mode, "float32"), model.configs), grid));
  try {
    await evaluate(packed, { signal });
    const values = "the latents of the encoded image";
    await requireFinite(packed, { stage, values, component: autoencoding.component, network }, context);
    return packed;
  } catch (error) {
    packed.dispose();
    throw error;
  }
}

/**
 * Decodes packed latents `[1, tokens, channels]` to an image.
 * @param stage the stage that decodes them, for messages.
 * @throws {ModelError} when the pixels are not finite.
 * @throws the signal's reason when it is aborted.
 */
export async function decodeLatents(
  packed: MxArray,
  network: Module,
  stage: StageName,
  context: AutoencoderContext,
): Promise<Picture> {
  const { grid, model, signal } = context;
  const { packing, autoencoding } = model.family;
  using latents = scope(() => autoencoding.unscale(packing.unpack(packed, grid), model.configs));
  using pixels = await runStages(autoencoding.decode(network, latents, workingRoom()), { signal });
  const values = "the pixels of the decoded image";
  await requireFinite(pixels, { stage, values, component: autoencoding.component, network }, context);
  const [, height, width] = pixels.shape as [number, number, number, number];
  return { data: toBytes(await floatsOf(pixels, signal)), width, height };
}

/** Unpacks latents `[1, tokens, channels]` to PyTorch's layout, `[1, channels, height / 8, width / 8]`. */
export async function unpackedLatents(
  packed: MxArray,
  { grid, model, signal }: Pick<Generation, "grid" | "model" | "signal">,
): Promise<Latents> {
  using unpacked = scope(() => toChannelsFirst(model.family.packing.unpack(packed, grid)));
  return { data: await floatsOf(unpacked, signal), shape: latentShape(grid) };
}

/** Reads the values of an array as float32. */
async function floatsOf(values: MxArray, signal: AbortSignal): Promise<Float32Array> {
  using floats = astype(values, "float32");
  await evaluate(floats, { signal });
  return floats.toTypedArray() as Float32Array;
}

/** Estimates the bytes that encoding an image takes, weights excluded. Bands keep it within `room` bytes if possible. */
export const encodingMemory = (
  workload: Pick<Workload, "width" | "height">,
  model: Model,
  room: number,
): number => autoencoderMemory("encode", workload, model, room);

/** Estimates the bytes that decoding an image takes, weights excluded. Bands keep it within `room` bytes if possible. */
export function decodingMemory(workload: Workload, model: Model, room: number): number {
  // MLX, JavaScript and the codec each hold the image.
  const image = 3 * 8 * workload.width * workload.height;
  return autoencoderMemory("decode", workload, model, Math.max(0, room - image)) + image;
}

function autoencoderMemory(
  direction: "encode" | "decode",
  { width, height }: Pick<Workload, "width" | "height">,
  { family, configs, precision }: Model,
  room: number,
): number {
  const { autoencoding } = family;
  const arithmetic: Arithmetic = {
    bytes: bytesPerValue(componentDType(family.components[autoencoding.component]!, precision)),
    fused: precision.fused,
  };
  return autoencoding.workingMemory(configs, { direction, width, height, arithmetic, room });
}
