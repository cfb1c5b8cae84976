import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type MxArray, memory, random } from "@mflux-depth/mlx";
import { canMultiplyIntegers, randomize, setQuantizedProducts } from "@mflux-depth/mlx/nn";
import { FluxDepth, type LoadOptions } from "mflux-depth";
import { DepthAnything, depthAnythingConfig } from "mflux-depth/models/depth-anything";
import { DepthPro, depthProConfig, inputSize } from "mflux-depth/models/depth-pro";
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

/** The bundled estimator: with float32 weights, and with 8 bits. */
export async function benchDepth(): Promise<Row[]> {
  return [await bundledTimes(), ...(await bundledLoss())];
}

const pictures = ["astronaut.jpg", "chelsea.jpg", "coffee.jpg", "cube.png", "mountains.png", "portrait.png"];

/** How 8-bit weights, alone and with 8-bit inputs, change the maps of some pictures. */
async function bundledLoss(): Promise<Row[]> {
  using dense = await FluxDepth.load({ model: "tiny-world" });
  const options: Readonly<Record<string, LoadOptions>> = {
    "8 bits": { depthQuantize: 8 },
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
async function bundledTimes(): Promise<Row> {
  memory.resetPeakMemory();
  using flux = await FluxDepth.load({ model: "tiny-world" });
  let n = 0;
  const start = performance.now();
  await flux.estimateDepth(photo(n++));
  const first = (performance.now() - start) / 1000;
  const next = await seconds(3, () => flux.estimateDepth(photo(n++)));
  return {
    name: "tiny-world, a photo of 600×400",
    "first s": round(first),
    "estimation s": round(next),
    "MLX peak MB": round(peakMlxMB()),
    "resident peak MB": round(peakResidentMB()),
  };
}

/**
 * Forward passes at the sizes of `apple/DepthPro-hf` without its field-of-view head, with random weights: in float32, in 8
 * bits, and with 8-bit inputs. Takes minutes on a CPU, and 6 GB.
 */
export async function benchRealDepth(peer: Peer | null): Promise<Row[]> {
  const models = { image_model_config: large, patch_model_config: large, fov_model_config: large };
  const config = depthProConfig({ model_type: "depth_pro", ...models }, "config.json");
  using model = new DepthPro(config);
  using key = random.key(0);
  randomize(model, key, 0.02);
  await setImmediate();
  memory.clearCache();
  const weights = memory.activeMemory();
  memory.resetPeakMemory();
  const side = inputSize(config);
  using pixels = random.uniform([1, side, side, 3], { low: -1, high: 1 });
  const start = performance.now();
  const shares = new Map<number, number>();
  const { depth } = await model.forward(pixels, {
    onProgress: (done) => void shares.set(done, (performance.now() - start) / 1000),
  });
  const whole = depth.toTypedArray() as Float32Array;
  depth.dispose();
  const total = (performance.now() - start) / 1000;
  const peaks = { "MLX peak MB": round(peakMlxMB()), "resident peak MB": round(peakResidentMB()) };
  await using work = await peer?.make("depth_pro", { config: { ...models, use_fov_model: false } });
  const theirs = await work?.run();
  // The encoders account for four fifths of the progress.
  const encoders = Math.max(...[...shares].filter(([done]) => done < 0.801).map(([, at]) => at));
  return [
    {
      name: `real sizes, ${side}×${side}, random weights`,
      "estimation s": round(total),
      "encoders s": round(encoders),
      ...(theirs && { "transformers s": round(theirs), "× transformers": ratio(theirs, total) }),
      "weights MB": round(weights / 1e6),
      ...peaks,
    },
    ...(await inEightBits(model, whole, async () => (await model.forward(pixels)).depth)),
  ];
}

/**
 * The same model with 8-bit matrices, which replace its weights, and then also with 8-bit inputs.
 * @param whole the map of the float32 weights
 */
async function inEightBits(
  model: DepthPro | DepthAnything,
  whole: Float32Array,
  forward: () => Promise<MxArray>,
): Promise<Row[]> {
  model.quantize({ bits: 8 });
  await setImmediate();
  const rows = [await forwardRow("the same in 8 bits", whole, forward)];
  if (!canMultiplyIntegers(8)) return rows;
  setQuantizedProducts(model, "int8");
  return [...rows, await forwardRow("with 8-bit inputs, too", whole, forward)];
}

async function forwardRow(name: string, whole: Float32Array, forward: () => Promise<MxArray>): Promise<Row> {
  memory.clearCache();
  const weights = memory.activeMemory();
  memory.resetPeakMemory();
  const start = performance.now();
  using depth = await forward();
  const map = depth.toTypedArray() as Float32Array;
  return {
    name,
    "estimation s": round((performance.now() - start) / 1000),
    ...mapDifference(whole, map),
    "weights MB": round(weights / 1e6),
    "MLX peak MB": round(peakMlxMB()),
  };
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
    ...(await inEightBits(model, whole, () => model.forward(pixels))),
  ];
}
