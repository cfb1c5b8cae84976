import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type MxArray, memory, random } from "@mflux-depth/mlx";
import { canMultiplyIntegers, randomize, setQuantizedProducts } from "@mflux-depth/mlx/nn";
import { FluxDepth, type LoadOptions } from "mflux-depth";
import { DepthAnything, depthAnythingConfig } from "mflux-depth/models/depth-anything";
import { DepthPro, depthProConfig, inputSize } from "mflux-depth/models/depth-pro";
import { sensitiveLayer } from "mflux-depth/models/dinov2";
import { useInt8Products } from "mflux-depth/models/int8-products";
import { peakMlxMB, peakResidentMB, type Row, ratio, round, seconds } from "./measure.js";
import type { Peer } from "./peer.js";

/** The pixels of a photo. Each `n` gives another photo, because estimates are cached by photo. */
function photo(n: number): { data: Uint8Array; width: number; height: number; channels: number } {
  const [width, height] = [600, 400];
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => 128 + 127 * Math.sin(n + i / 700));
  return { data, width, height, channels: 3 };
}

/** ViT-L with patches of 16, which the real model contains three times. */
const large = {
  model_type: "dinov2",
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  patch_size: 16,
};

/** The difference between two maps of one photo, each stretched to 0 to 255. */
function mapDifference(a: Float32Array, b: Float32Array): Pick<Row, "mean change of 255" | "largest of 255"> {
  const [one, other] = [stretched(a), stretched(b)];
  let [sum, largest] = [0, 0];
  for (let i = 0; i < one.length; i++) {
    const change = Math.abs(one[i]! - other[i]!);
    sum += change;
    largest = Math.max(largest, change);
  }
  return { "mean change of 255": round(sum / one.length), "largest of 255": round(largest) };
}

function stretched(map: Float32Array): Float32Array {
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of map) [min, max] = [Math.min(min, value), Math.max(max, value)];
  return map.map((value) => (255 * (value - min)) / (max - min || 1));
}

/** The bundled estimators' times, and what 8-bit weights change in the maps of tiny-world's Depth Pro. */
export async function benchDepth(): Promise<Row[]> {
  return [
    await bundledTimes("tiny-world's Depth Pro", {}),
    await bundledTimes("tiny-depth-anything", { depthModel: "tiny-depth-anything" }),
    ...(await bundledLoss()),
  ];
}

const pictures = ["astronaut.jpg", "chelsea.jpg", "coffee.jpg", "cube.png", "mountains.png", "portrait.png"];

/** How 8-bit weights, alone and with 8-bit inputs, change the maps of some pictures. */
async function bundledLoss(): Promise<Row[]> {
  using dense = await FluxDepth.load({ model: "tiny-world", depthQuantize: "none" });
  const options: Readonly<Record<string, LoadOptions>> = {
    "8 bits": { depthQuantize: 8, depthInt8: false },
    ...(canMultiplyIntegers(8) && { "8-bit inputs, too": { depthInt8: true } }),
  };
  const rows: Row[] = [];
  for (const [how, changes] of Object.entries(options)) {
    using rounding = await FluxDepth.load({ model: "tiny-world", ...changes });
    for (const name of pictures) {
      const path = fileURLToPath(new URL(`../../examples/images/${name}`, import.meta.url));
      const [whole, rounded] = [await dense.estimateDepth(path), await rounding.estimateDepth(path)];
      rows.push({ name: `${how}, ${name}`, ...mapDifference(whole.data, rounded.data) });
    }
  }
  return rows;
}

/** The first estimate, which includes reading the weights, and the next ones. */
async function bundledTimes(estimator: string, options: LoadOptions): Promise<Row> {
  memory.resetPeakMemory();
  using flux = await FluxDepth.load({ model: "tiny-world", ...options });
  let n = 0;
  const start = performance.now();
  await flux.estimateDepth(photo(n++));
  const first = (performance.now() - start) / 1000;
  const next = await seconds(3, () => flux.estimateDepth(photo(n++)));
  return {
    name: `${estimator}, a photo of 600×400`,
    "first s": round(first),
    "estimation s": round(next),
    "MLX peak MB": round(peakMlxMB()),
    "resident peak MB": round(peakResidentMB()),
  };
}

/** The longest time for one forward pass at Depth Pro's sizes; a pass that takes longer is extrapolated from its share. */
const longestPass = 180;

/**
 * Forward passes at the sizes of `apple/DepthPro-hf` without its field-of-view head, with random weights: in float32, with
 * 8-bit inputs, and with 8-bit weights alone. Takes at most ten minutes, and 6 GB.
 */
export async function benchRealDepth(peer: Peer | null): Promise<Row[]> {
  const models = { image_model_config: large, patch_model_config: large, fov_model_config: large };
  const config = depthProConfig({ model_type: "depth_pro", ...models }, "config.json");
  using model = new DepthPro(config);
  using key = random.key(0);
  randomize(model, key, 0.02);
  await setImmediate();
  const side = inputSize(config);
  using pixels = random.uniform([1, side, side, 3], { low: -1, high: 1 });
  const forward: Forward = async (limits) => (await model.forward(pixels, limits)).depth;
  const plain = await forwardRow(`real sizes, ${side}×${side}, random weights, float32`, forward);
  await using work = await peer?.make("depth_pro", { config: { ...models, use_fov_model: false } });
  const theirs = await work?.run();
  const { row } = plain;
  const ours = Number(row["estimation s"] ?? row["extrapolated s"]);
  return [
    { ...row, ...(theirs && { "transformers s": round(theirs), "× transformers": ratio(theirs, ours) }) },
    ...(await inEightBits(model, plain.map, forward)),
  ];
}

/** The map of a forward pass, within limits. */
type Forward = (limits: {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number) => void;
}) => Promise<MxArray>;

/**
 * The same model with its matrices in 8 bits, which replaces its weights: with 8-bit inputs, as estimators compute by
 * default where the processor can, and then without.
 * @param whole the map of the float32 weights; null if it did not finish
 */
async function inEightBits(
  model: DepthPro | DepthAnything,
  whole: Float32Array | null,
  forward: Forward,
): Promise<Row[]> {
  model.quantize({ bits: 8 });
  await setImmediate();
  const rows: Row[] = [];
  if (canMultiplyIntegers(8)) {
    useInt8Products(model, sensitiveLayer);
    rows.push((await forwardRow("8-bit weights and inputs, the default", forward, whole)).row);
    setQuantizedProducts(model, "exact");
  }
  return [...rows, (await forwardRow("8-bit weights", forward, whole)).row];
}

/** Runs a pass, or as much of it as {@link longestPass} allows. */
async function forwardRow(
  name: string,
  forward: Forward,
  whole: Float32Array | null = null,
): Promise<{ readonly row: Row; readonly map: Float32Array | null }> {
  memory.clearCache();
  const weights = memory.activeMemory();
  memory.resetPeakMemory();
  // As estimators do.
  using _buffers = memory.keepBuffers(5e8);
  const start = performance.now();
  const elapsed = (): number => (performance.now() - start) / 1000;
  let share = 0;
  let reached = 0;
  const signal = AbortSignal.timeout(1000 * longestPass);
  const onProgress = (done: number): void => {
    [share, reached] = [done, elapsed()];
  };
  const map = await forward({ signal, onProgress }).then(
    (depth) => {
      const values = depth.toTypedArray() as Float32Array;
      depth.dispose();
      return values;
    },
    (error: unknown) => {
      if (!signal.aborted) throw error;
      return null;
    },
  );
  const row = {
    name,
    ...(map
      ? { "estimation s": round(elapsed()) }
      : { "extrapolated s": round(reached / share), "measured share": round(share) }),
    ...(map && whole && mapDifference(whole, map)),
    "weights MB": round(weights / 1e6),
    "MLX peak MB": round(peakMlxMB()),
    "resident peak MB": round(peakResidentMB()),
  };
  return { row, map };
}

/** Forward passes at the sizes of Depth Anything V2 Small and a square photo, with random weights: in float32 and 8 bits. */
export async function benchDepthAnything(): Promise<Row[]> {
  const side = 518;
  const config = depthAnythingConfig(
    {
      model_type: "depth_anything",
      backbone_config: {
        model_type: "dinov2",
        hidden_size: 384,
        num_attention_heads: 6,
        image_size: side,
        out_indices: [3, 6, 9, 12],
      },
    },
    "config.json",
  );
  using model = new DepthAnything(config);
  using key = random.key(0);
  randomize(model, key, 0.02);
  await setImmediate();
  memory.clearCache();
  const weights = memory.activeMemory();
  memory.resetPeakMemory();
  using pixels = random.uniform([1, side, side, 3], { low: -2, high: 2 });
  let whole = new Float32Array();
  const time = await seconds(3, async () => {
    using depth = await model.forward(pixels);
    whole = depth.toTypedArray() as Float32Array<ArrayBuffer>;
  });
  return [
    {
      name: `Depth Anything V2 Small, ${side}×${side}, random weights`,
      "estimation s": round(time),
      "weights MB": round(weights / 1e6),
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    },
    ...(await inEightBits(model, whole, (limits) => model.forward(pixels, limits))),
  ];
}
