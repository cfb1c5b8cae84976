import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  array,
  evaluateSync,
  loadSafetensors,
  type MxArray,
  memory,
  random,
  scope,
  square,
  transpose,
} from "@mflux-depth/mlx";
import { type Module, randomize } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import { readConfig } from "../../src/files/json.js";
import {
  DepthPro,
  type DepthProConfig,
  type Dinov2Config,
  depthProConfig,
  depthProKey,
  inputSize,
  interpolate,
  mergePatches,
  splitPatches,
} from "../../src/models/depth-pro.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { relativeError } from "../support/tensors.js";

const bundled = fileURLToPath(new URL("../../../models/tiny-world/depth_pro", import.meta.url));
const goldenFile = fileURLToPath(new URL("../../../test/golden/depth_pro.safetensors", import.meta.url));

async function loadBundled(): Promise<DepthPro> {
  const config = depthProConfig(readConfig(bundled, "config.json"));
  const model = new DepthPro(config);
  await loadWeights(model, openCheckpoint(bundled), { dtype: "float32", rename: depthProKey(config) });
  return model;
}

const values = (x: MxArray): Float32Array => x.toTypedArray() as Float32Array;

/** Values between −1 and 1 that repeat in no simple pattern. */
const noise = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + (i % 7)) * Math.cos(i * 0.37));

// ---------------------------------------------------------------- against transformers

describe("the bundled model", () => {
  let model: DepthPro;
  const golden = loadSafetensors(goldenFile).arrays;
  const pixels = (i: number): MxArray => scope(() => transpose(golden.get(`pixels_${i}`)!, [0, 2, 3, 1]));

  before(async () => {
    model = await loadBundled();
  });

  for (const i of [0, 1, 2])
    test(`photo ${i} has the depth that transformers gives`, async () => {
      using input = pixels(i);
      const { depth, fov } = await model.forward(input);
      using held = depth;
      assert.equal(fov, null);
      assert.deepEqual(held.shape, golden.get(`depth_${i}`)!.shape);
      const error = relativeError(values(held), values(golden.get(`depth_${i}`)!));
      assert.ok(error < 2e-6, `relative error ${error}`);
    });

  test("the result depends neither on how many patches run at once nor on the decoder's bands", async () => {
    using input = pixels(1);
    const { depth: whole } = await model.forward(input, { workingSet: 2 ** 40 });
    const { depth: pieces } = await model.forward(input, { workingSet: 2 ** 23 });
    const error = relativeError(values(pieces), values(whole));
    assert.ok(error < 1e-6, `relative error ${error}`);
    whole.dispose();
    pieces.dispose();
  });

  test("cancelling ends it with the signal's reason, and nothing stays allocated", async () => {
    using input = pixels(0);
    evaluateSync(input);
    const handles = memory.liveHandles();
    const reason = new Error("enough");
    for (const share of [0, 0.3, 0.81]) {
      const controller = new AbortController();
      const onProgress = (done: number): void => {
        if (done >= share) controller.abort(reason);
      };
      await assert.rejects(
        model.forward(input, { signal: controller.signal, onProgress }),
        (error) => error === reason,
      );
      assert.equal(memory.liveHandles(), handles, `after cancelling at ${share}`);
    }
  });

  test("progress rises to 1", async () => {
    using input = pixels(0);
    const seen: number[] = [];
    const { depth } = await model.forward(input, { onProgress: (done) => seen.push(done) });
    depth.dispose();
    assert.ok(seen.length > 8);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
    assert.ok(seen[0]! > 0 && seen[0]! < 0.1);
    assert.ok(Math.abs(seen.at(-2)! - 1) < 1e-9, "the parts add up to the whole");
    assert.equal(seen.at(-1), 1);
  });

  test("pictures that are not square, or too small for the pyramid, are refused", async () => {
    for (const shape of [
      [1, 128, 96, 3],
      [1, 64, 64, 3],
      [2, 128, 128, 3],
    ]) {
      using wrong = array(new Float32Array(shape.reduce((a, b) => a * b)), { shape });
      await assert.rejects(model.forward(wrong), ModelError);
    }
  });

  test("files with the attention's names of transformers 5 load to the same model", () => {
    const key = depthProKey(model.config);
    const names = [...openCheckpoint(bundled).fileOf.keys()];
    const newer = (name: string): string =>
      name
        .replace("attention.attention.query", "attention.q_proj")
        .replace("attention.attention.key", "attention.k_proj")
        .replace("attention.attention.value", "attention.v_proj")
        .replace("attention.output.dense", "attention.o_proj");
    assert.equal(names.filter((name) => newer(name) !== name).length, 2 * 4 * 8);
    assert.deepEqual(names.map(newer).map(key), names.map(key));
    assert.deepEqual(
      names.filter(
        (name) => key(name) === null && !name.startsWith("fusion_stage.intermediate.0.residual_layer1."),
      ),
      [
        "depth_pro.encoder.image_encoder.model.embeddings.mask_token",
        "depth_pro.encoder.patch_encoder.model.embeddings.mask_token",
      ],
    );
  });
});

describe("a model with a field-of-view head", () => {
  // Random weights, saved by transformers 5.23, and what it makes of two pictures.
  const folder = fileURLToPath(new URL("../../../test/golden/depth_pro_fov/", import.meta.url));
  const golden = loadSafetensors(`${folder}golden.safetensors`).arrays;
  const config = depthProConfig(readConfig(folder, "config.json"));

  for (const i of [0, 1])
    test(`picture ${i} has the field of view, and the depth, that transformers gives`, async () => {
      using model = new DepthPro(config);
      loadWeights(model, openCheckpoint(folder), {
        dtype: "float32",
        rename: depthProKey(config),
      });
      using input = scope(() => transpose(golden.get(`pixels_${i}`)!, [0, 2, 3, 1]));
      const { depth, fov } = await model.forward(input);
      using held = depth;
      const expected = values(golden.get(`fov_${i}`)!)[0]!;
      assert.ok(Math.abs(fov! / expected - 1) < 2e-5, `${fov} ${expected}`);
      const expectedDepth = golden.get(`depth_${i}`);
      if (expectedDepth) assert.ok(relativeError(values(held), values(expectedDepth)) < 2e-6);
    });
});

// ---------------------------------------------------------------- pieces against plain code

/** Pixels or features, `[height, width, channels]`, in double precision. */
interface Grid {
  data: Float64Array;
  height: number;
  width: number;
  channels: number;
}

const grid = (height: number, width: number, channels: number): Grid => ({
  data: new Float64Array(height * width * channels),
  height,
  width,
  channels,
});

function fill(like: [number, number, number], value: (y: number, x: number, c: number) => number): Grid {
  const out = grid(...like);
  let i = 0;
  for (let y = 0; y < out.height; y++)
    for (let x = 0; x < out.width; x++) for (let c = 0; c < out.channels; c++) out.data[i++] = value(y, x, c);
  return out;
}

const at = (g: Grid, y: number, x: number, c: number): number => g.data[(y * g.width + x) * g.channels + c]!;

/** Four neighbours, half-pixel centres. */
function plainResize(
  g: Grid,
  height: number,
  width: number,
  step = [g.height / height, g.width / width],
): Grid {
  const position = (i: number, by: number, size: number): [number, number, number] => {
    const centre = Math.max((i + 0.5) * by - 0.5, 0);
    const low = Math.min(Math.floor(centre), size - 1);
    return [low, Math.min(low + 1, size - 1), centre - low];
  };
  return fill([height, width, g.channels], (y, x, c) => {
    const [top, bottom, down] = position(y, step[0]!, g.height);
    const [left, right, east] = position(x, step[1]!, g.width);
    const upper = at(g, top, left, c) * (1 - east) + at(g, top, right, c) * east;
    const lower = at(g, bottom, left, c) * (1 - east) + at(g, bottom, right, c) * east;
    return upper * (1 - down) + lower * down;
  });
}

const toArray = (g: Grid): MxArray =>
  array(Float32Array.from(g.data), { shape: [1, g.height, g.width, g.channels] });

describe("interpolation", () => {
  const picture: Grid = { data: Float64Array.from(noise(24 * 24 * 3)), height: 24, width: 24, channels: 3 };

  for (const size of [6, 9, 24, 25, 40, 96])
    test(`to ${size} is that of plain code`, () => {
      using input = toArray(picture);
      using out = scope(() => interpolate(input, { size }));
      assert.ok(relativeError(values(out), plainResize(picture, size, size).data) < 5e-6);
    });

  test("by a ratio the step is exact where the size is rounded down", () => {
    using input = toArray(picture);
    using out = scope(() => interpolate(input, { ratio: 0.3 }));
    assert.deepEqual(out.shape, [1, 7, 7, 3]);
    assert.ok(relativeError(values(out), plainResize(picture, 7, 7, [1 / 0.3, 1 / 0.3]).data) < 5e-6);
  });

  test("a quarter is the mean of the middle four of sixteen pixels", () => {
    using input = toArray(picture);
    using out = scope(() => interpolate(input, { ratio: 0.25 }));
    const expected = fill([6, 6, 3], (y, x, c) => {
      const [top, left] = [4 * y + 1, 4 * x + 1];
      return (
        (at(picture, top, left, c) +
          at(picture, top + 1, left, c) +
          at(picture, top, left + 1, c) +
          at(picture, top + 1, left + 1, c)) /
        4
      );
    });
    assert.ok(relativeError(values(out), expected.data) < 1e-6);
  });
});

describe("patches", () => {
  for (const [side, overlap, count, padding] of [
    [128, 0.25, 5, 4],
    [64, 0.5, 3, 8],
    [96, 0, 3, 0],
    [32, 0, 1, 4],
  ] as const)
    test(`a picture of ${side} with overlap ${overlap} is split and merged to itself`, () => {
      using picture = array(noise(side * side * 2), { shape: [1, side, side, 2] });
      using patches = scope(() => splitPatches(picture, 32, overlap));
      assert.equal(patches.shape[0], count ** 2);
      using merged = scope(() => mergePatches(patches, padding));
      assert.deepEqual(values(merged), values(picture));
    });

  test("patches start at multiples of the truncated stride; the rest is dropped", () => {
    using picture = array(noise(45 * 45), { shape: [1, 45, 45, 1] });
    using patches = scope(() => splitPatches(picture, 10, 0.25));
    const all = values(picture);
    assert.deepEqual(patches.shape, [36, 10, 10, 1]);
    const expected: number[] = [];
    for (let row = 0; row < 6; row++)
      for (let column = 0; column < 6; column++)
        for (let y = 0; y < 10; y++)
          for (let x = 0; x < 10; x++) expected.push(all[(row * 7 + y) * 45 + column * 7 + x]!);
    assert.deepEqual([...values(patches)], expected);
  });

  test("merging trims at most a quarter of a patch", () => {
    using patches = array(noise(4 * 8 * 8), { shape: [4, 8, 8, 1] });
    using merged = scope(() => mergePatches(patches, 12));
    const all = values(patches);
    const source = (i: number): [number, number] => (i < 6 ? [0, i] : [1, i - 6 + 2]);
    const expected = fill([12, 12, 1], (y, x) => {
      const [[row, top], [column, left]] = [source(y), source(x)];
      return all[((row * 2 + column) * 8 + top) * 8 + left]!;
    });
    assert.deepEqual([...values(merged)], [...expected.data]);
  });
});

// ---------------------------------------------------------------- the whole at another size, against plain code

/** Sizes that have nothing to do with the bundled model's: every option the other way, encoders that differ. */
const otherConfig = (): DepthProConfig => {
  const encoder = (part: object): object => ({
    model_type: "dinov2",
    layer_norm_eps: 0.01,
    patch_size: 2,
    num_channels: 3,
    ...part,
  });
  return depthProConfig({
    model_type: "depth_pro",
    fusion_hidden_size: 6,
    patch_size: 8,
    intermediate_hook_ids: [0, 2],
    intermediate_feature_dims: [5, 7],
    scaled_images_ratios: [0.25, 0.5, 1],
    scaled_images_overlap_ratios: [0, 0.5, 0.25],
    scaled_images_feature_dims: [9, 8, 4],
    merge_padding_value: 1,
    use_batch_norm_in_fusion_residual: true,
    use_bias_in_fusion_residual: null,
    use_fov_model: true,
    num_fov_head_layers: 1,
    image_model_config: encoder({
      hidden_size: 12,
      num_hidden_layers: 2,
      num_attention_heads: 3,
      mlp_ratio: 2,
    }),
    patch_model_config: encoder({
      hidden_size: 20,
      num_hidden_layers: 3,
      num_attention_heads: 2,
      mlp_ratio: 3,
      use_swiglu_ffn: true,
      qkv_bias: false,
    }),
    fov_model_config: encoder({ hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 4, mlp_ratio: 4 }),
  });
};

function randomModel(config: DepthProConfig): DepthPro {
  const model = new DepthPro(config);
  using key = random.key(7);
  randomize(model, key, 0.25);
  for (const [, module] of model.modules())
    for (const [name, held] of module.ownParameters())
      if (name === "runningVar") {
        const positive = scope(() => square(held));
        evaluateSync(positive);
        module.replace(name, positive);
      }
  // The depth must not end in the flat part of its ReLU.
  model.head.layers[4].replace("bias", array([3]));
  return model;
}

/** The definition in plain loops, read from transformers, on the parameters by their path. */
class Plain {
  #parameters: Map<string, MxArray>;

  constructor(
    model: Module,
    readonly config: DepthProConfig,
  ) {
    this.#parameters = model.parameters();
  }

  weight(path: string): { data: ArrayLike<number>; shape: readonly number[] } {
    const held = this.#parameters.get(path);
    assert.ok(held, `no parameter ${path}`);
    return { data: values(held), shape: held.shape };
  }

  bias(path: string): ArrayLike<number> | null {
    return this.#parameters.has(`${path}.bias`) ? this.weight(`${path}.bias`).data : null;
  }

  conv(x: Grid, path: string, stride: number, padding: number): Grid {
    const { data, shape } = this.weight(`${path}.weight`);
    const [out, kernel, , channels] = shape as [number, number, number, number];
    assert.equal(channels, x.channels);
    const bias = this.bias(path);
    const size = (n: number): number => Math.floor((n + 2 * padding - kernel) / stride) + 1;
    return fill([size(x.height), size(x.width), out], (y, column, o) => {
      let sum = bias ? bias[o]! : 0;
      for (let i = 0; i < kernel; i++)
        for (let j = 0; j < kernel; j++) {
          const [row, col] = [y * stride + i - padding, column * stride + j - padding];
          if (row < 0 || col < 0 || row >= x.height || col >= x.width) continue;
          for (let c = 0; c < channels; c++)
            sum += at(x, row, col, c) * data[((o * kernel + i) * kernel + j) * channels + c]!;
        }
      return sum;
    });
  }

  /** Transposed, kernel 2, stride 2: each pixel becomes four. */
  double(x: Grid, path: string): Grid {
    const { data, shape } = this.weight(`${path}.weight`);
    const [out, , , channels] = shape as [number, number, number, number];
    assert.equal(channels, x.channels);
    const bias = this.bias(path);
    return fill([2 * x.height, 2 * x.width, out], (y, column, o) => {
      let sum = bias ? bias[o]! : 0;
      for (let c = 0; c < channels; c++)
        sum += at(x, y >> 1, column >> 1, c) * data[((o * 2 + (y & 1)) * 2 + (column & 1)) * channels + c]!;
      return sum;
    });
  }

  linear(rows: number[][], path: string): number[][] {
    const { data, shape } = this.weight(`${path}.weight`);
    const [out, width] = shape as [number, number];
    const bias = this.bias(path);
    return rows.map((row) =>
      Array.from({ length: out }, (_, o) =>
        row.reduce((sum, value, i) => sum + value * data[o * width + i]!, bias ? bias[o]! : 0),
      ),
    );
  }

  norm(rows: number[][], path: string, eps: number): number[][] {
    const { data: weight } = this.weight(`${path}.weight`);
    const { data: bias } = this.weight(`${path}.bias`);
    return rows.map((row) => {
      const mean = row.reduce((a, b) => a + b, 0) / row.length;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + eps)) * weight[i]! + bias[i]!);
    });
  }

  attend(rows: number[][], path: string, heads: number): number[][] {
    const [q, k, v] = ["query", "key", "value"].map((name) => this.linear(rows, `${path}.attention.${name}`));
    const size = rows[0]!.length / heads;
    const mixed = rows.map((row, i) =>
      row.map((_, c) => {
        const first = Math.floor(c / size) * size;
        const scores = k!.map((key) => {
          let dot = 0;
          for (let d = first; d < first + size; d++) dot += q![i]![d]! * key[d]!;
          return Math.exp(dot / Math.sqrt(size));
        });
        const total = scores.reduce((a, b) => a + b, 0);
        return scores.reduce((sum, score, j) => sum + (score / total) * v![j]![c]!, 0);
      }),
    );
    return this.linear(mixed, `${path}.output.dense`);
  }

  feedForward(rows: number[][], path: string, config: Dinov2Config): number[][] {
    if (!config.useSwigluFfn) {
      const inner = this.linear(rows, `${path}.fc1`);
      return this.linear(
        inner.map((row) => row.map((x) => 0.5 * x * (1 + erf(x / Math.SQRT2)))),
        `${path}.fc2`,
      );
    }
    const inner = this.linear(rows, `${path}.weightsIn`);
    const half = inner[0]!.length / 2;
    return this.linear(
      inner.map((row) => row.slice(0, half).map((x, i) => (x / (1 + Math.exp(-x))) * row[half + i]!)),
      `${path}.weightsOut`,
    );
  }

  /** The normed end, and the output of each block, as rows of tokens. */
  dinov2(picture: Grid, path: string, config: Dinov2Config): { end: number[][]; blocks: number[][][] } {
    const squares = this.conv(picture, `${path}.embeddings.patchEmbeddings.projection`, config.patchSize, 0);
    const { data: cls } = this.weight(`${path}.embeddings.clsToken`);
    const { data: positions } = this.weight(`${path}.embeddings.positionEmbeddings`);
    const width = config.hiddenSize;
    let rows = Array.from({ length: squares.height * squares.width + 1 }, (_, t) =>
      Array.from(
        { length: width },
        (_, c) => (t === 0 ? cls[c]! : squares.data[(t - 1) * width + c]!) + positions[t * width + c]!,
      ),
    );
    const blocks: number[][][] = [];
    for (let i = 0; i < config.numHiddenLayers; i++) {
      const here = `${path}.encoder.layer.${i}`;
      const scaled = (part: number[][], name: string): void => {
        const { data } = this.weight(`${here}.${name}.lambda1`);
        rows = rows.map((row, t) => row.map((value, c) => value + part[t]![c]! * data[c]!));
      };
      const first = this.norm(rows, `${here}.norm1`, config.layerNormEps);
      scaled(this.attend(first, `${here}.attention`, config.numAttentionHeads), "layerScale1");
      const second = this.norm(rows, `${here}.norm2`, config.layerNormEps);
      scaled(this.feedForward(second, `${here}.mlp`, config), "layerScale2");
      blocks.push(rows);
    }
    return { end: this.norm(rows, `${path}.layernorm`, config.layerNormEps), blocks };
  }

  residual(x: Grid, path: string): Grid {
    const half = (input: Grid, n: number): Grid => {
      const y = this.conv(relu(input), `${path}.convolution${n}`, 1, 1);
      const [weight, bias, mean, variance] = ["weight", "bias", "runningMean", "runningVar"].map(
        (name) => this.weight(`${path}.batchNorm${n}.${name}`).data,
      );
      return fill(
        [y.height, y.width, y.channels],
        (row, column, c) =>
          ((at(y, row, column, c) - mean![c]!) / Math.sqrt(variance![c]! + 1e-5)) * weight![c]! + bias![c]!,
      );
    };
    return sum(x, half(half(x, 1), 2));
  }

  forward(pixels: Grid): { depth: Grid; fov: number } {
    const { config } = this;
    const encoders = "depthPro.encoder";
    const outSize = config.patchSize / config.imageModelConfig.patchSize;
    const halvings = Math.floor(Math.log2(pixels.width / outSize));
    const base = Math.floor(pixels.width / 2 ** halvings);

    // Per level: patches, their encodings, and the map that these merge to.
    const hooked: number[][][][] = config.intermediateHookIds.map(() => []);
    const levels = config.scaledImagesRatios.map((ratio, level) => {
      const side = Math.floor(pixels.width * ratio);
      const picture = plainResize(pixels, side, side, [1 / ratio, 1 / ratio]);
      const stride = Math.trunc(config.patchSize * (1 - config.scaledImagesOverlapRatios[level]!));
      const ends: number[][][] = [];
      for (let top = 0; top + config.patchSize <= side; top += stride)
        for (let left = 0; left + config.patchSize <= side; left += stride) {
          const patch = fill([config.patchSize, config.patchSize, 3], (y, x, c) =>
            at(picture, top + y, left + x, c),
          );
          const { end, blocks } = this.dinov2(
            patch,
            `${encoders}.patchEncoder.model`,
            config.patchModelConfig,
          );
          ends.push(end);
          if (ratio === 1)
            for (const [i, id] of config.intermediateHookIds.entries()) hooked[i]!.push(blocks[id]!);
        }
      const padding = Math.trunc(config.mergePaddingValue / ratio);
      const size = base * 2 ** level;
      return plainResize(merge(ends, padding), size, size);
    });
    const fine = base * 2 ** (levels.length - 1);
    const intermediate = hooked.map((states) =>
      plainResize(merge(states, config.mergePaddingValue), fine, fine),
    );

    const resized = plainResize(pixels, config.patchSize, config.patchSize);
    const { end } = this.dinov2(resized, `${encoders}.imageEncoder.model`, config.imageModelConfig);
    const image = plainResize(merge([end], 0), base, base);

    // Neck.
    const up = "depthPro.neck.featureUpsample";
    const upsample = (x: Grid, path: string, count: number): Grid => {
      let y = this.conv(x, `${path}.layers.0`, 1, 0);
      for (let i = 1; i <= count; i++) y = this.double(y, `${path}.layers.${i}`);
      return y;
    };
    const scaled = levels.map((level, i) => upsample(level, `${up}.scaledImages.${i}`, 1));
    const inner = intermediate.map((level, i) => upsample(level, `${up}.intermediate.${i}`, 2 + i));
    const coarse = this.conv(
      joinChannels(scaled[0]!, this.double(image, `${up}.imageBlock.layers.0`)),
      "depthPro.neck.fuseImageWithLowRes",
      1,
      0,
    );
    const features = [coarse, ...scaled.slice(1), ...inner].map((feature, i) =>
      this.conv(feature, `depthPro.neck.featureProjection.projections.${i}`, 1, 1),
    );

    // Fusion.
    let x: Grid | null = null;
    for (const [i, feature] of features.entries()) {
      const last = i === features.length - 1;
      const path: string = last ? "fusionStage.final" : `fusionStage.intermediate.${i}`;
      const joined: Grid = x ? sum(x, this.residual(feature, `${path}.residualLayer1`)) : feature;
      const refined = this.residual(joined, `${path}.residualLayer2`);
      x = this.conv(last ? refined : this.double(refined, `${path}.deconv`), `${path}.projection`, 1, 0);
    }
    const enlarged = this.double(this.conv(x!, "head.layers.0", 1, 1), "head.layers.1");
    const depth = relu(this.conv(relu(this.conv(enlarged, "head.layers.2", 1, 1)), "head.layers.4", 1, 0));

    // Field of view.
    const seen = this.dinov2(resized, "fovModel.fovEncoder.model", config.fovModelConfig).end;
    const own = plainResize(merge([this.linear(seen, "fovModel.fovEncoder.neck")], 0), base, base);
    let degrees = plainResize(
      sum(own, relu(this.conv(features[0]!, "fovModel.conv", 2, 1))),
      outSize,
      outSize,
    );
    for (let i = 0; i < config.numFovHeadLayers; i++)
      degrees = relu(this.conv(degrees, `fovModel.head.layers.${2 * i}`, 2, 1));
    degrees = this.conv(degrees, `fovModel.head.layers.${2 * config.numFovHeadLayers}`, 1, 0);
    assert.equal(degrees.data.length, 1);
    return { depth, fov: degrees.data[0]! };
  }
}

const relu = (x: Grid): Grid => ({ ...x, data: x.data.map((value) => Math.max(value, 0)) });

function sum(a: Grid, b: Grid): Grid {
  assert.deepEqual([a.height, a.width, a.channels], [b.height, b.width, b.channels]);
  return { ...a, data: a.data.map((value, i) => value + b.data[i]!) };
}

const joinChannels = (a: Grid, b: Grid): Grid =>
  fill([a.height, a.width, a.channels + b.channels], (y, x, c) =>
    c < a.channels ? at(a, y, x, c) : at(b, y, x, c - a.channels),
  );

/** Tokens of patches in reading order to one map, without class tokens. */
function merge(patches: number[][][], padding: number): Grid {
  const count = Math.floor(Math.sqrt(patches.length));
  const side = Math.floor(Math.sqrt(patches[0]!.length));
  const trim = count === 1 ? 0 : Math.min(Math.floor(side / 4), padding);
  const sources: [patch: number, inside: number][] = [];
  for (let patch = 0; patch < count; patch++)
    for (let i = 0; i < side; i++)
      if ((patch === 0 || i >= trim) && (patch === count - 1 || i < side - trim)) sources.push([patch, i]);
  return fill([sources.length, sources.length, patches[0]![0]!.length], (y, x, c) => {
    const [[row, top], [column, left]] = [sources[y]!, sources[x]!];
    return patches[row * count + column]![1 + top * side + left]![c]!;
  });
}

/** The error function by its series, to double precision for the small arguments here. */
function erf(x: number): number {
  let term = x;
  let total = x;
  for (let n = 1; n < 200; n++) {
    term *= -(x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

describe("another config", () => {
  test("gives the depth and the field of view of plain loops", async () => {
    const config = otherConfig();
    using model = randomModel(config);
    const side = 40;
    const pixels: Grid = {
      data: Float64Array.from(noise(side * side * 3)),
      height: side,
      width: side,
      channels: 3,
    };
    const expected = new Plain(model, config).forward(pixels);
    using input = toArray(pixels);
    const { depth, fov } = await model.forward(input, { workingSet: 400_000 });
    using held = depth;
    assert.deepEqual(held.shape, [1, expected.depth.height, expected.depth.width]);
    const found = values(held);
    const [low, high] = [Math.min(...expected.depth.data), Math.max(...expected.depth.data)];
    assert.ok(high - low > 0.5, `the depth varies: ${low} to ${high}`);
    const error = relativeError(found, expected.depth.data);
    assert.ok(error < 5e-6, `relative error ${error}`);
    assert.ok(Math.abs(expected.fov) > 1e-3);
    assert.ok(
      Math.abs(fov! - expected.fov) < 1e-5 * Math.max(1, Math.abs(expected.fov)),
      `${fov} ${expected.fov}`,
    );
  });
});

// ---------------------------------------------------------------- config

describe("depthProConfig", () => {
  test("what a config leaves out is the default of transformers", () => {
    const config = depthProConfig({ model_type: "depth_pro" });
    assert.equal(inputSize(config), 1536);
    assert.deepEqual(config.intermediateHookIds, [11, 5]);
    assert.deepEqual(config.scaledImagesFeatureDims, [1024, 1024, 512]);
    assert.equal(config.useBiasInFusionResidual, true);
    assert.equal(config.patchModelConfig.hiddenSize, 768);
    assert.equal(config.patchModelConfig.imageSize, 384);
  });

  const refused: [string, object, RegExp][] = [
    ["another model", { model_type: "dpt" }, /"dpt".*"depth_pro"/],
    [
      "a FLUX transformer",
      { _class_name: "FluxTransformer2DModel", in_channels: 128 },
      /another kind of model/,
    ],
    [
      "another encoder",
      { image_model_config: { model_type: "vit" } },
      /"vit"; the encoder of image_model_config needs "dinov2"/,
    ],
    ["another activation", { patch_model_config: { hidden_act: "relu" } }, /"hidden_act" is "relu"/],
    ["ratios in disorder", { scaled_images_ratios: [1, 0.5, 0.25] }, /sorted/],
    ["lists of different length", { scaled_images_feature_dims: [4] }, /differ in length/],
    ["hooks without dims", { intermediate_feature_dims: [256] }, /differ in length/],
    ["a hook beyond the blocks", { intermediate_hook_ids: [12, 5] }, /12 blocks/],
    ["a size that is none", { fusion_hidden_size: "many" }, /"fusion_hidden_size" is "many"/],
    ["heads that do not divide", { fov_model_config: { num_attention_heads: 5 } }, /5 heads/],
  ];
  for (const [what, change, message] of refused)
    test(`refuses ${what}`, () => {
      const json = "_class_name" in change ? change : { model_type: "depth_pro", ...change };
      assert.throws(
        () => depthProConfig(json, "some/config.json"),
        (error: Error) => {
          assert.ok(error instanceof ModelError);
          assert.match(error.message, /^some\/config\.json: /);
          assert.match(error.message, message);
          return true;
        },
      );
    });
});
