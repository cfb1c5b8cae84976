/*
 * Encodes images to packed latents and decodes them back with the VAE, and estimates the memory of both.
 */
import { array, astype, evaluate, type MxArray, scope } from "@mflux-depth/mlx";
import { runStages } from "@mflux-depth/mlx/nn";
import { toBytes, toModelInput } from "../images/model-input.js";
import type { FloatImage } from "../images/types.js";
import { workingRoom } from "../memory/machine.js";
import { Autoencoder, scaleLatents, unscaleLatents } from "../models/autoencoder.js";
import type { Arithmetic } from "../models/layer-plan.js";
import { latentShape, toChannelsFirst } from "../sampling/latents.js";
import { bytesPerValue } from "../weights/component.js";
import type { Model } from "./model.js";
import { componentDType } from "./precision.js";
import type { Latents, Picture } from "./result.js";
import type { Generation, Workload } from "./stage.js";

type AutoencoderContext = Pick<Generation, "request" | "grid" | "model" | "signal">;

/**
 * Encodes an image, stretched to the requested size, to packed latents `[1, tokens, channels]` float32.
 * @throws the signal's reason when it is aborted.
 */
export async function encodeImage(
  image: FloatImage,
  vae: Autoencoder,
  { request: { width, height }, grid, model, signal }: AutoencoderContext,
): Promise<MxArray> {
  const input = await toModelInput(image, width, height, signal);
  using pixels = array(input, { shape: [1, height, width, 3] });
  using mode = await runStages(vae.encodeStages(pixels, workingRoom()), { signal });
  const { packing } = model.family;
  const packed = scope(() => packing.pack(scaleLatents(astype(mode, "float32"), vae.config), grid));
  try {
    await evaluate(packed, { signal });
    return packed;
  } catch (error) {
    packed.dispose();
    throw error;
  }
}

/**
 * Decodes packed latents `[1, tokens, channels]` to an image.
 * @throws the signal's reason when it is aborted.
 */
export async function decodeLatents(
  packed: MxArray,
  vae: Autoencoder,
  { grid, model, signal }: AutoencoderContext,
): Promise<Picture> {
  using latents = scope(() => unscaleLatents(model.family.packing.unpack(packed, grid), vae.config));
  const pixels = await runStages(vae.decodeStages(latents, workingRoom()), { signal });
  const [, height, width] = pixels.shape as [number, number, number, number];
  return { data: toBytes(await floatsOf(pixels, signal)), width, height };
}

/** Unpacks latents `[1, tokens, channels]` to PyTorch's layout, `[1, channels, height / 8, width / 8]`. */
export async function unpackedLatents(
  packed: MxArray,
  { grid, model, signal }: Pick<Generation, "grid" | "model" | "signal">,
): Promise<Latents> {
  const unpacked = scope(() => toChannelsFirst(model.family.packing.unpack(packed, grid)));
  return { data: await floatsOf(unpacked, signal), shape: latentShape(grid) };
}

/** Reads the values of an array as float32 and disposes it. */
async function floatsOf(values: MxArray, signal: AbortSignal): Promise<Float32Array> {
  using source = values;
  using floats = astype(source, "float32");
  await evaluate(floats, { signal });
  return floats.toTypedArray() as Float32Array;
}

/** Estimates the bytes that encoding an image takes, weights excluded. Bands keep it within `room` bytes if possible. */
export function encodingMemory({ width, height }: Workload, model: Model, room: number): number {
  using vae = new Autoencoder(model.configs.vae);
  return vae.encodingBytes(height, width, arithmeticOf(model), room);
}

/** Estimates the bytes that decoding an image takes, weights excluded. Bands keep it within `room` bytes if possible. */
export function decodingMemory({ width, height }: Workload, model: Model, room: number): number {
  using vae = new Autoencoder(model.configs.vae);
  // MLX, JavaScript and the codec each hold the image.
  const image = 3 * 8 * width * height;
  return vae.decodingBytes(height, width, arithmeticOf(model), Math.max(0, room - image)) + image;
}

const arithmeticOf = ({ family, precision }: Model): Arithmetic => ({
  bytes: bytesPerValue(componentDType(family.components.vae, precision)),
  fused: precision.fused,
});
