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
import type { StageName } from "./events.js";
import { requireFinite } from "./finite.js";
import type { Model } from "./model.js";
import { componentDType } from "./precision.js";
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
  vae: Autoencoder,
  stage: StageName,
  context: AutoencoderContext,
): Promise<MxArray> {
  const { grid, model, signal } = context;
  const { width, height } = context.request;
  const input = await toModelInput(image, width, height, signal);
  using pixels = array(input, { shape: [1, height, width, 3] });
  using mode = await runStages(vae.encodeStages(pixels, workingRoom()), { signal });
  const { packing } = model.family;
  const packed = scope(() => packing.pack(scaleLatents(astype(mode, "float32"), vae.config), grid));
  try {
    await evaluate(packed, { signal });
    const values = "the latents of the encoded image";
    await requireFinite(packed, { stage, values, component: "vae", network: vae }, context);
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
  vae: Autoencoder,
  stage: StageName,
  context: AutoencoderContext,
): Promise<Picture> {
  const { grid, model, signal } = context;
  using latents = scope(() => unscaleLatents(model.family.packing.unpack(packed, grid), vae.config));
  using pixels = await runStages(vae.decodeStages(latents, workingRoom()), { signal });
  const values = "the pixels of the decoded image";
  await requireFinite(pixels, { stage, values, component: "vae", network: vae }, context);
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
