import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  add,
  convGeneral,
  defaultDevice,
  divide,
  evaluate,
  evaluateSync,
  type MxArray,
  matmul,
  mean,
  memory,
  multiply,
  random,
  repeat,
  reshape,
  scope,
  sigmoid,
  slice,
  softmax,
  sqrt,
  square,
  subtract,
  sum,
  transpose,
} from "@mflux-depth/mlx";
import { type Conv2d, type GroupNorm, type Linear, lazily, randomize, runStages } from "@mflux-depth/mlx/nn";
import { Autoencoder, type AutoencoderConfig, AutoencoderMemory } from "../../src/models/autoencoder.js";

/* The autoencoder keeps to little memory, and gives the same result as on whole maps. */

const config: AutoencoderConfig = {
  inChannels: 3,
  outChannels: 3,
  latentChannels: 4,
  blockOutChannels: [16, 32, 64],
  layersPerBlock: 1,
  normNumGroups: 8,
  midBlockAddAttention: true,
  useQuantConv: true,
  usePostQuantConv: true,
  scalingFactor: 1,
  shiftFactor: 0,
};

function randomAutoencoder(): Autoencoder {
  const model = new Autoencoder(config);
  randomize(model, random.key(1), 0.15);
  return model;
}

// The whole autoencoder in plain operations on whole images, after the paper's figure.

const conv = (
  x: MxArray,
  { weight, bias, stride, kernelSize }: Conv2d,
  [before, after]: readonly [number, number] = [(kernelSize - 1) / 2, (kernelSize - 1) / 2],
): MxArray =>
  add(
    convGeneral(x, weight, {
      stride: [stride, stride],
      paddingBefore: [before, before],
      paddingAfter: [after, after],
    }),
    bias!,
  );

function normed(x: MxArray, { weight, bias, groups, eps }: GroupNorm): MxArray {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const grouped = reshape(x, [n, h, w, groups, c / groups]);
  const centred = subtract(grouped, mean(grouped, { axis: [1, 2, 4], keepDims: true }));
  const deviation = sqrt(add(mean(square(centred), { axis: [1, 2, 4], keepDims: true }), eps));
  return add(multiply(reshape(divide(centred, deviation), x.shape), weight), bias);
}

const swish = (x: MxArray): MxArray => multiply(x, sigmoid(x));
const linear = (x: MxArray, { weight, bias }: Linear): MxArray => add(matmul(x, transpose(weight)), bias!);

type Middle = Autoencoder["encoder"]["midBlock"];
type Resnet = Middle["resnets"][0];

const residual = (x: MxArray, block: Resnet): MxArray => {
  const h = conv(swish(normed(x, block.norm1)), block.conv1);
  const y = conv(swish(normed(h, block.norm2)), block.conv2);
  return add(block.convShortcut ? conv(x, block.convShortcut) : x, y);
};

function middle(x: MxArray, { resnets: [first, second], attentions: [attention] }: Middle): MxArray {
  const h = residual(x, first);
  const { groupNorm, toQ, toK, toV, toOut } = attention!;
  const [b, rows, columns, c] = h.shape as [number, number, number, number];
  const tokens = reshape(normed(h, groupNorm), [b, rows * columns, c]);
  const scores = multiply(matmul(linear(tokens, toQ), transpose(linear(tokens, toK), [0, 2, 1])), c ** -0.5);
  const attended = linear(matmul(softmax(scores), linear(tokens, toV)), toOut[0]);
  return residual(add(h, reshape(attended, h.shape)), second);
}

function plainEncode(x: MxArray, { encoder, quantConv }: Autoencoder): MxArray {
  let h = conv(x, encoder.convIn);
  for (const { resnets, downsamplers } of encoder.downBlocks) {
    for (const block of resnets) h = residual(h, block);
    for (const one of downsamplers) h = conv(h, one.conv, [0, 1]);
  }
  h = conv(swish(normed(middle(h, encoder.midBlock), encoder.convNormOut)), encoder.convOut);
  return conv(h, quantConv!);
}

function plainDecode(z: MxArray, { decoder, postQuantConv }: Autoencoder): MxArray {
  let h = middle(conv(conv(z, postQuantConv!), decoder.convIn), decoder.midBlock);
  for (const { resnets, upsamplers } of decoder.upBlocks) {
    for (const block of resnets) h = residual(h, block);
    for (const one of upsamplers) h = conv(repeat(repeat(h, 2, 1), 2, 2), one.conv);
  }
  return conv(swish(normed(h, decoder.convNormOut)), decoder.convOut);
}

const difference = (a: MxArray, b: MxArray): number =>
  scope(() => Number(sqrt(divide(sum(square(subtract(a, b))), sum(square(b)))).toTypedArray()[0]));

// Wider than a band of one row, so narrow that a band has many rows, and with rests in both directions.
const sizes: readonly (readonly [rows: number, columns: number])[] = [
  [3, 300],
  [70, 5],
  [37, 29],
];

describe("the autoencoder equals plain operations", () => {
  for (const [rows, columns] of sizes)
    test(`decoding ${rows} × ${columns} latents`, async () => {
      using model = randomAutoencoder();
      using latents = random.normal([1, rows, columns, 4], { key: random.key(2) });
      using images = await runStages(model.decodeStages(latents));
      using expected = scope(() => plainDecode(latents, model));
      assert.deepEqual(images.shape, [1, 4 * rows, 4 * columns, 3]);
      const error = difference(images, expected);
      assert.ok(error <= 1e-5, `relative error ${error}`);
    });

  test("encoding two images", async () => {
    using model = randomAutoencoder();
    using images = random.normal([2, 92, 60, 3], { key: random.key(3) });
    using mode = await runStages(model.encodeStages(images));
    // The mean, without the variance.
    using expected = scope(() => slice(plainEncode(images, model), [null, null, null, [0, 4]]));
    assert.deepEqual(mode.shape, [2, 23, 15, 4]);
    const error = difference(mode, expected);
    assert.ok(error <= 1e-5, `relative error ${error}`);
  });
});

test("AutoencoderMemory keeps no arrays", () => {
  const before = memory.liveHandles();
  const needs = new AutoencoderMemory(config);
  assert.equal(memory.liveHandles(), before);
  assert.ok(needs.decodingBytes(256, 256, { bytes: 4, fused: true }) > 4 * 256 * 256 * 16);
  assert.equal(memory.liveHandles(), before);
});

describe("a memory limit", () => {
  const images = { height: 188, width: 164 };
  const numbers = { bytes: 4, fused: defaultDevice() === "cpu" };
  const needs = new AutoencoderMemory(config);

  /** A result, and the most memory that was held in addition. */
  async function measured(run: () => Promise<MxArray>): Promise<{ result: MxArray; peak: number }> {
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    const result = await run();
    return { result, peak: memory.peakMemory() - before };
  }

  for (const share of [0.7, 0.35, 0])
    test(`of ${share} of the bytes of whole maps gives the same result`, async () => {
      const { height, width } = images;
      using model = randomAutoencoder();
      using latents = random.normal([1, height / 4, width / 4, 4], { key: random.key(2) });
      using picture = random.normal([1, height, width, 3], { key: random.key(3) });
      await evaluate([latents, picture]);
      const runs = [
        {
          stages: (limit?: number) => model.decodeStages(latents, limit),
          bytes: (limit?: number) => needs.decodingBytes(height, width, numbers, limit),
        },
        {
          stages: (limit?: number) => model.encodeStages(picture, limit),
          bytes: (limit?: number) => needs.encodingBytes(height, width, numbers, limit),
        },
      ];
      for (const { stages, bytes } of runs) {
        using whole = await runStages(stages());
        const limit = share * bytes();
        const { result, peak } = await measured(() => runStages(stages(limit)));
        using banded = result;
        const error = difference(banded, whole);
        assert.ok(error <= 2e-6, `relative error ${error}`);
        assert.ok(bytes(limit) < bytes());
        // The plan keeps the limit, or takes the least memory possible.
        assert.ok(bytes(limit) <= Math.max(limit, bytes(0)), `${bytes(limit)} planned of ${limit}`);
        if (numbers.fused) assert.ok(peak <= bytes(limit), `${peak} held, ${bytes(limit)} planned`);
      }
    });

  test("of a third of the bytes halves the memory", { skip: !numbers.fused }, async () => {
    using model = randomAutoencoder();
    using latents = random.normal([1, 64, 64, 4]);
    await evaluate(latents);
    const whole = await measured(() => runStages(model.decodeStages(latents)));
    whole.result.dispose();
    const limit = needs.decodingBytes(256, 256, numbers) / 3;
    const banded = await measured(() => runStages(model.decodeStages(latents, limit)));
    banded.result.dispose();
    assert.ok(banded.peak <= limit, `${banded.peak} of ${limit}`);
    assert.ok(banded.peak < whole.peak / 2, `${banded.peak}, whole maps take ${whole.peak}`);
  });

  test("gives the same result as one lazy graph", () => {
    using model = randomAutoencoder();
    using latents = random.normal([1, 40, 24, 4], { key: random.key(4) });
    using whole = model.decode(latents);
    using banded = lazily(model.decodeStages(latents, 0));
    assert.ok(difference(banded, whole) <= 2e-6);
  });

  test("leaves nothing behind when the computation ends early", async () => {
    using model = randomAutoencoder();
    using latents = random.normal([1, 32, 32, 4]);
    evaluateSync(latents, [...model.parameters().values()]);
    memory.clearCache();
    const [held, handles] = [memory.activeMemory(), memory.liveHandles()];
    const holdsNothing = (): void => {
      memory.clearCache();
      // Arrays of other tests may have been collected meanwhile.
      assert.ok(memory.activeMemory() <= held && memory.liveHandles() <= handles);
    };
    const stages = model.decodeStages(latents, 0);
    for (let part = 0; part < 30; part++) evaluateSync(stages.next().value);
    stages.return(latents);
    holdsNothing();
    const controller = new AbortController();
    const run = runStages(model.decodeStages(latents, 0), { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 20);
    await assert.rejects(run, /enough/);
    holdsNothing();
  });
});

describe("peak memory", {
  skip: defaultDevice() === "cpu" ? false : "only the CPU fuses convolutions",
}, () => {
  /** Bytes at the peak of a computation, above those held before. */
  async function peakOf(run: () => Promise<MxArray>): Promise<number> {
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    using result = await run();
    assert.ok(result.size > 0);
    return memory.peakMemory() - before;
  }

  for (const size of [128, 256])
    test(`for ${size} × ${size} pixels is a layer's input and two maps of its output`, async () => {
      using model = randomAutoencoder();
      using latents = random.normal([1, size / 4, size / 4, 4]);
      using images = random.normal([1, size, size, 3]);
      await evaluate([latents, images]);
      const pixels = 4 * size * size;
      // The last level of the decoder halves the channels: 2 + 1 + 1 maps.
      const decoding = await peakOf(() => runStages(model.decodeStages(latents)));
      assert.ok(decoding <= 1.02 * pixels * 16 * 4, `${decoding / pixels / 16} maps to decode`);
      const encoding = await peakOf(() => runStages(model.encodeStages(images)));
      assert.ok(encoding <= 1.02 * pixels * 16 * 3, `${encoding / pixels / 16} maps to encode`);
    });

  test("falls back when a computation is cancelled between stages", async () => {
    using model = randomAutoencoder();
    using latents = random.normal([1, 32, 32, 4]);
    evaluateSync(latents);
    const [held, handles] = [memory.activeMemory(), memory.liveHandles()];
    const controller = new AbortController();
    const stages = model.decodeStages(latents);
    let parts = 0;
    function* watched(): typeof stages {
      try {
        for (;;) {
          const step = stages.next();
          if (step.done) return step.value;
          if (++parts === 3) controller.abort(new Error("enough"));
          yield step.value;
        }
      } finally {
        stages.return(latents);
      }
    }
    await assert.rejects(runStages(watched(), { signal: controller.signal }), /enough/);
    assert.equal(parts, 3);
    memory.clearCache();
    // Arrays of other tests may have been collected meanwhile.
    assert.ok(memory.liveHandles() <= handles);
    assert.ok(memory.activeMemory() <= held);
  });
});
