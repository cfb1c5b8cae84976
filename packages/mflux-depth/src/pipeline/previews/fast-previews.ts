/*
 * Previews without decoding: a linear map from each latent to the colours of its pixels, fitted by least squares. The
 * layout is right and colours are close; fine details are missing.
 */
import {
  add,
  array,
  astype,
  clip,
  evaluate,
  type MxArray,
  matmul,
  multiply,
  reshape,
  round,
  scope,
  transpose,
} from "@mflux-depth/mlx";
import type { FloatImage } from "../../images/types.js";
import type { Latents, Picture } from "../result.js";
import { type FitSums, fitLinearMap, fitSumsOf } from "./least-squares.js";

/** Pixels of a preview per latent, along each side. */
const detail = 2;

/** Colours of a latent: `detail × detail` pixels of RGB. */
const results = 3 * detail ** 2;

/** The maximum number of latents sampled from one image. */
const mostSamples = 1024;

/** The number of generated images, the latest ones, that the map is fitted to. */
const mostLearned = 4;

/** The linear map of one model's autoencoder. Each image that the model generates improves it. */
export class FastPreviews {
  #calibration: FitSums | null = null;
  #learned: readonly FitSums[] = [];
  /** `[1 + channels, results]`; the first row is the colour of a latent of zeros. Null until it is fitted. */
  #map: Float32Array | null = null;

  /** Whether there is an image to fit the map to. */
  get isCalibrated(): boolean {
    return this.#calibration !== null;
  }

  /** Sets the first image to fit the map to, RGB in [0, 1], with its latents. */
  calibrate(latents: Latents, image: FloatImage): void {
    this.#calibration = samplesOf(latents, image, 1);
    this.#map = null;
  }

  /** Improves the map with a decoded image. */
  learn(latents: Latents, image: Picture): void {
    this.#learned = [...this.#learned, samplesOf(latents, image, 255)].slice(-mostLearned);
    this.#map = null;
  }

  /**
   * Draws latents `[1, rows, columns, channels]` at twice their size, a quarter of the image's.
   * @throws the signal's reason when it is aborted.
   */
  async draw(latents: MxArray, signal: AbortSignal): Promise<Picture> {
    const map = this.#fitted();
    using pixels = scope(() => {
      const [, rows, columns, channels] = latents.shape as [number, number, number, number];
      const zero = array(map.slice(0, results), { shape: [results] });
      const slopes = array(map.slice(results), { shape: [channels, results] });
      const colours = multiply(add(matmul(latents, slopes), zero), 255);
      const boxes = reshape(clip(round(colours), 0, 255), [rows, columns, detail, detail, 3]);
      const image = reshape(transpose(boxes, [0, 2, 1, 3, 4]), [rows * detail, columns * detail, 3]);
      return astype(image, "uint8");
    });
    await evaluate(pixels, { signal });
    const [height, width] = pixels.shape as [number, number, number];
    return { data: pixels.toTypedArray() as Uint8Array, width, height };
  }

  #fitted(): Float32Array {
    if (!this.#calibration) throw new Error("fast previews are drawn before they have been calibrated");
    this.#map ??= Float32Array.from(fitLinearMap([this.#calibration, ...this.#learned]));
    return this.#map;
  }
}

/** Sums over latents sampled evenly from an image, with the mean colours of their `detail × detail` boxes of pixels. */
function samplesOf(
  { data, shape: [, channels, rows, columns] }: Latents,
  image: { readonly data: ArrayLike<number>; readonly width: number },
  white: number,
): FitSums {
  // The inputs of the map are 1 and the channels.
  const terms = 1 + channels;
  const count = rows * columns;
  const stride = Math.ceil(count / mostSamples) | 1;
  const samples = Math.ceil(count / stride);
  const inputs = new Float64Array(samples * terms);
  const targets = new Float64Array(samples * results);
  const box = image.width / (columns * detail);
  for (let sample = 0; sample < samples; sample++) {
    const cell = sample * stride;
    inputs[sample * terms] = 1;
    for (let channel = 0; channel < channels; channel++)
      inputs[sample * terms + 1 + channel] = data[channel * count + cell]!;
    for (let result = 0; result < results; result++) {
      const pixel = Math.floor(result / 3);
      const x = box * ((cell % columns) * detail + (pixel % detail));
      const y = box * (Math.floor(cell / columns) * detail + Math.floor(pixel / detail));
      let sum = 0;
      for (let row = y; row < y + box; row++)
        for (let column = x; column < x + box; column++)
          sum += image.data[(row * image.width + column) * 3 + (result % 3)]!;
      targets[sample * results + result] = sum / (box ** 2 * white);
    }
  }
  return fitSumsOf(inputs, targets, { terms, results });
}
