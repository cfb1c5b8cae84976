import { setImmediate } from "node:timers/promises";
import { memory, random } from "@mflux-depth/mlx";
import { randomize } from "@mflux-depth/mlx/nn";
import { FluxDepth } from "mflux-depth";
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

/** ViT-L with patches of 16; the real model has it three times. */
const large = {
  model_type: "dinov2",
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  patch_size: 16,
};

/** The bundled estimator: the first estimate, which includes reading its weights, and the next ones. */
export async function benchDepth(): Promise<Row[]> {
  memory.resetPeakMemory();
  using flux = await FluxDepth.load({ model: "tiny-world" });
  let n = 0;
  const start = performance.now();
  await flux.estimateDepth(photo(n++));
  const first = (performance.now() - start) / 1000;
  const next = await seconds(3, () => flux.estimateDepth(photo(n++)));
  return [
    {
      name: "tiny-world, a photo of 600×400",
      "first s": round(first),
      "estimation s": round(next),
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    },
  ];
}

/**
 * One forward pass at the sizes of `apple/DepthPro-hf` without its field-of-view head, with random float32 weights.
 * Takes minutes on a CPU, and 6 GB.
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
  depth.dispose();
  const total = (performance.now() - start) / 1000;
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
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    },
  ];
}

/** Forward passes at the sizes of Depth Anything V2 Small and a square photo, with random float32 weights. */
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
  const time = await seconds(3, async () => {
    using _depth = await model.forward(pixels);
  });
  return [
    {
      name: `Depth Anything V2 Small, ${side}×${side}, random weights`,
      "estimation s": round(time),
      "weights MB": round(weights / 1e6),
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    },
  ];
}
