/*
 * Images to packed latents and back, through the autoencoder, and the memory that takes.
 */
import { array, astype, evaluate, type MxArray, scope } from "@mflux-depth/mlx";
import { runStages } from "@mflux-depth/mlx/nn";
import { toBytes, toModelInput } from "../images/model-input.js";
import type { FloatImage } from "../images/types.js";
import { workingRoom } from "../memory/machine.js";
import { Autoencoder, scaleLatents, unscaleLatents } from "../models/autoencoder.js";
import type { Arithmetic } from "../models/layer-plan.js";
import { latentShape, toChannelsFirst } from "../sampling/latents.js";
import type { Model } from "./model.js";
import type { Latents, Picture } from "./result.js";
import type { Generation, Workload } from "./stage.js";

type Target = Pick<Generation, "request" | "grid" | "model" | "signal">;

/** An image, stretched to the requested size → packed latents, `[1, tokens, channels]` float32. */
export async function encodeImage(
  image: FloatImage,
  vae: Autoencoder,
  { request: { width, height }, grid, model, signal }: Target,
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

/** Packed latents `[1, tokens, channels]` → the image. */
export async function decodeLatents(
  packed: MxArray,
  vae: Autoencoder,
  { grid, model, signal }: Target,
): Promise<Picture> {
  using latents = scope(() => unscaleLatents(model.family.packing.unpack(packed, grid), vae.config));
  const pixels = await runStages(vae.decodeStages(latents, workingRoom()), { signal });
  const [, height, width] = pixels.shape as [number, number, number, number];
  return { data: toBytes(await floatsOf(pixels, signal)), width, height };
}

/** Packed latents `[1, tokens, channels]` in PyTorch's layout. */
export async function unpackedLatents(
  packed: MxArray,
  { grid, model, signal }: Pick<Generation, "grid" | "model" | "signal">,
): Promise<Latents> {
  const unpacked = scope(() => toChannelsFirst(model.family.packing.unpack(packed, grid)));
  return { data: await floatsOf(unpacked, signal), shape: latentShape(grid) };
}

/** The values of an array, which is released. */
async function floatsOf(values: MxArray, signal: AbortSignal): Promise<Float32Array> {
  using source = values;
  using floats = astype(source, "float32");
  await evaluate(floats, { signal });
  return floats.toTypedArray() as Float32Array;
}

/** Estimates the bytes that encoding an image takes, weights aside, within `room` where that is possible. */
export function encodingMemory({ width, height }: Workload, model: Model, room: number): number {
  using vae = new Autoencoder(model.configs.vae);
  return vae.encodingBytes(height, width, arithmeticOf(model), room);
}

/** Estimates the bytes that decoding to an image takes, weights aside, within `room` where that is possible. */
export function decodingMemory({ width, height }: Workload, model: Model, room: number): number {
  using vae = new Autoencoder(model.configs.vae);
  // The image as MLX, JavaScript and the codec hold it.
  const image = 3 * 8 * width * height;
  return vae.decodingBytes(height, width, arithmeticOf(model), Math.max(0, room - image)) + image;
}

const arithmeticOf = ({ precision: { dtype, fused } }: Model): Arithmetic => ({
  // The autoencoder computes in float32 where float16 was requested.
  bytes: dtype === "bfloat16" ? 2 : 4,
  fused,
});
