import assert from "node:assert/strict";
import type { MxArray } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import type { DepthProConfig } from "../../src/models/depth-pro/config.js";
import type { Dinov2Config } from "../../src/models/dinov2.js";
import { erf } from "./float64.js";
import { fill, type Grid, joinChannels, pixelAt, plainResize, relu, sum } from "./grid.js";
import { values } from "./tensors.js";

/** Depth Pro in plain loops, after transformers, on a model's parameters by their paths. */
export class PlainDepthPro {
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
            sum += pixelAt(x, row, col, c) * data[((o * kernel + i) * kernel + j) * channels + c]!;
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
        sum +=
          pixelAt(x, y >> 1, column >> 1, c) * data[((o * 2 + (y & 1)) * 2 + (column & 1)) * channels + c]!;
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
          ((pixelAt(y, row, column, c) - mean![c]!) / Math.sqrt(variance![c]! + 1e-5)) * weight![c]! +
          bias![c]!,
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
            pixelAt(picture, top + y, left + x, c),
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

/** Joins the tokens of patches in reading order to one map, without class tokens. */
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
