import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  array,
  astype,
  type DType,
  full,
  loadSafetensors,
  MlxError,
  type MxArray,
  memory,
  random,
  type Safetensors,
} from "@mflux-depth/mlx";
import { LoadError, randomize } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import { readConfig } from "../../src/files/json.js";
import { relativePositionBuckets, type T5Config, T5Encoder, t5Config } from "../../src/models/t5.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { attend, linear, type Matrix, matrix, plus } from "../support/float64.js";
import { relativeError, values } from "../support/tensors.js";

const folder = fileURLToPath(new URL("../../../models/tiny-world/text_encoder_2", import.meta.url));
const goldenFile = fileURLToPath(new URL("../../../test/golden/text_encoders.safetensors", import.meta.url));

async function loadBundled(dtype: DType): Promise<T5Encoder> {
  const model = new T5Encoder(t5Config(readConfig(folder, "config.json")));
  await loadWeights(model, openCheckpoint(folder), { dtype, rename: T5Encoder.sanitize });
  return model;
}

let golden: Safetensors;
let model: T5Encoder;
let ids: MxArray;
let embeds: Float32Array;

before(async () => {
  golden = loadSafetensors(goldenFile);
  model = await loadBundled("float32");
  ids = golden.arrays.get("t5_ids")!;
  embeds = values(golden.arrays.get("prompt_embeds")!);
});
after(() => {
  for (const tensor of golden.arrays.values()) tensor.dispose();
  model.dispose();
});

test("the embeddings of the golden texts are transformers'", () => {
  using out = model.forward(ids);
  assert.deepEqual(out.shape, [6, 64, 128]);
  assert.ok(relativeError(values(out), embeds) <= 2e-5);
});

test("a text alone gives what it gives among others", () => {
  const all = Int32Array.from(ids.toTypedArray(), Number);
  for (let text = 0; text < 6; text++) {
    using out = model.forward(all.subarray(text * 64, (text + 1) * 64));
    assert.deepEqual(out.shape, [1, 64, 128]);
    const expected = embeds.slice(text * 64 * 128, (text + 1) * 64 * 128);
    assert.ok(relativeError(values(out), expected) <= 2e-5);
  }
});

test("16-bit floats keep their dtype and about their precision", async () => {
  for (const [dtype, floor, ceiling] of [
    ["bfloat16", 1e-4, 2e-2],
    ["float16", 1e-5, 2e-3],
  ] as const) {
    using half = await loadBundled(dtype);
    using out = half.forward(ids);
    assert.equal(out.dtype, dtype);
    const error = relativeError(values(out), embeds);
    assert.ok(error > floor && error < ceiling, `${dtype}: ${error}`);
  }
});

test("a forward pass leaves its result alone behind, one that is left early nothing", () => {
  const before = memory.liveHandles();
  const out = model.forward(ids);
  assert.equal(memory.liveHandles(), before + 1);
  out.dispose();
  const stages = model.stages(ids);
  stages.next();
  assert.ok(memory.liveHandles() > before);
  stages.return(out);
  assert.equal(memory.liveHandles(), before);
});

/** The encoder in plain loops (transformers: models/t5/modeling_t5.py). */
function recompute(model: T5Encoder, config: T5Config, ids: readonly number[]): Matrix {
  const parameters = model.parameters();
  const vector = (name: string): number[] => [...values(parameters.get(name)!)];
  const weight = (name: string): Matrix => matrix(vector(name), parameters.get(name)!.shape[1]!);
  const project = (x: Matrix, name: string): Matrix => linear(x, weight(`${name}.weight`));
  const normalize = (x: Matrix, name: string): Matrix => {
    const factor = vector(`${name}.weight`);
    return x.map((row) => {
      const square = row.reduce((sum, v) => sum + v * v, 0) / row.length;
      return row.map((v, i) => (v / Math.sqrt(square + config.layerNormEpsilon)) * factor[i]!);
    });
  };
  const geluTanh = (v: number): number =>
    0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

  const table = weight("encoder.block.0.layer.0.SelfAttention.relativeAttentionBias.weight");
  const buckets = relativePositionBuckets(
    ids.length,
    config.relativeAttentionNumBuckets,
    config.relativeAttentionMaxDistance,
  );
  const embeddings = weight("shared.weight");
  let x = ids.map((id) => embeddings[id]!);
  for (let block = 0; block < config.numLayers; block++) {
    const at = `encoder.block.${block}.layer`;
    const normalized = normalize(x, `${at}.0.layerNorm`);
    const qkv = [
      project(normalized, `${at}.0.SelfAttention.q`),
      project(normalized, `${at}.0.SelfAttention.k`),
      project(normalized, `${at}.0.SelfAttention.v`),
    ] as const;
    const attended = attend(
      qkv,
      config.numHeads,
      (product, query, key, head) => product + table[buckets[query * ids.length + key]!]![head]!,
    );
    x = plus(x, project(attended, `${at}.0.SelfAttention.o`));
    const input = normalize(x, `${at}.1.layerNorm`);
    const dense = `${at}.1.DenseReluDense`;
    const inner =
      config.feedForwardProj === "relu"
        ? project(input, `${dense}.wi`).map((row) => row.map((v) => Math.max(v, 0)))
        : project(input, `${dense}.wi0`).map((row, i, _, gated = project([input[i]!], `${dense}.wi1`)[0]!) =>
            row.map((v, j) => geluTanh(v) * gated[j]!),
          );
    x = plus(x, project(inner, `${dense}.wo`));
  }
  return normalize(x, "encoder.finalLayerNorm");
}

/** Nothing divides anything: heads times their width is not the model's width. */
const small = {
  vocab_size: 37,
  d_model: 22,
  d_kv: 7,
  d_ff: 50,
  num_layers: 3,
  num_heads: 5,
  relative_attention_num_buckets: 8,
  relative_attention_max_distance: 9,
  layer_norm_epsilon: 1e-3,
};

test("another size, gated or not, agrees with a recomputation in plain loops", () => {
  const texts = [
    [3, 36, 7, 22, 7, 7, 0, 1, 2, 4, 9, 11, 1],
    [5, 5, 5, 35, 8, 9, 1, 4, 7, 0, 0, 0, 0],
  ];
  for (const feed_forward_proj of ["relu", "gated-gelu"]) {
    const config = t5Config({ ...small, feed_forward_proj });
    using encoder = new T5Encoder(config);
    using key = random.key(6);
    randomize(encoder, key, 0.4);
    using ids = array(Int32Array.from(texts.flat()), { shape: [2, 13] });
    using out = encoder.forward(ids);
    const expected = texts.map((text) => recompute(encoder, config, text));
    assert.ok(relativeError(values(out), expected.flat(2)) <= 2e-5);
  }
});

test("float16 survives sums beyond its range", () => {
  const config = t5Config(small);
  const compare = (enlarge: (encoder: T5Encoder) => void): void => {
    using encoder = new T5Encoder(config);
    using key = random.key(7);
    randomize(encoder, key, 0.4);
    enlarge(encoder);
    const text = Int32Array.of(3, 36, 7, 22, 1);
    using expected = encoder.forward(text);
    const wide = values(expected);
    for (const [, layer] of encoder.modules())
      for (const [name, held] of layer.ownParameters()) layer.replace(name, astype(held, "float16"));
    using out = encoder.forward(text);
    assert.equal(out.dtype, "float16");
    assert.ok(relativeError(values(out), wide) < 5e-3);
  };
  // The feed-forward's sums reach 10⁶; later blocks see them through their norms.
  compare((encoder) =>
    encoder.encoder.block[0]!.layer[1].DenseReluDense.wo.replace("weight", full([22, 50], 60_000)),
  );
  // Embedding and attention are within the range, their sum (75 400) is not.
  compare((encoder) => {
    const { layerNorm, SelfAttention: attention } = encoder.encoder.block[0]!.layer[0];
    encoder.shared.replace("weight", full([37, 22], 60_000));
    layerNorm.replace("weight", full([22], 1));
    attention.v.replace("weight", full([35, 22], 1));
    attention.o.replace("weight", full([22, 35], 20));
  });
});

test("the buckets of relative positions", () => {
  // Where a key 0, 1, … places after the query changes its bucket, from the reference in float32.
  const starts = (tokens: number, buckets: number, maxDistance: number): number[] => {
    const all = relativePositionBuckets(tokens, buckets, maxDistance);
    const row = [...all.subarray(0, tokens)];
    // The first query has no keys behind it, the last none before it.
    const column = Array.from({ length: tokens }, (_, i) => all[i * tokens]!);
    assert.deepEqual(
      row.map((bucket, distance) => (distance === 0 ? bucket : bucket - buckets / 2)),
      column,
    );
    return column.flatMap((bucket, distance) => (bucket !== column[distance - 1] ? [distance] : []));
  };
  assert.deepEqual(starts(600, 32, 128), [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
  assert.deepEqual(starts(200, 16, 40), [0, 1, 2, 3, 4, 8, 13, 23]);
  assert.deepEqual(starts(50, 8, 20), [0, 1, 2, 7]);
});

test("embeddings come under either name, or both; a decoder is unused", async () => {
  const key = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight";
  assert.equal(T5Encoder.sanitize(key), key);
  assert.equal(T5Encoder.sanitize("shared.weight"), "shared.weight");
  assert.equal(T5Encoder.sanitize("encoder.embed_tokens.weight"), "shared.weight");
  for (const unused of [
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.0.layer_norm.weight",
    "lm_head.weight",
  ])
    assert.equal(T5Encoder.sanitize(unused), null);
  assert.equal(T5Encoder.sanitize("encoder.decoder.weight"), "encoder.decoder.weight");

  const config = t5Config({ ...small, num_layers: 1, feed_forward_proj: "relu" });
  const tensorsOf = (names: readonly string[]): [string, MxArray][] => {
    using source = new T5Encoder(config);
    const others = [...source.parameters()]
      .filter(([path]) => path !== "shared.weight")
      .map(([path, { shape }]): [string, MxArray] => [path, full(shape, 1)]);
    return [
      ...names.map((name): [string, MxArray] => [T5Encoder.sanitize(name)!, full([37, 22], 3)]),
      ...others,
    ];
  };
  for (const names of [
    ["shared.weight"],
    ["encoder.embed_tokens.weight"],
    ["encoder.embed_tokens.weight", "shared.weight"],
  ]) {
    const tensors = tensorsOf(names);
    using encoder = new T5Encoder(config);
    await encoder.load(tensors);
    assert.deepEqual(values(encoder.shared.weight), new Float32Array(37 * 22).fill(3));
    const held = new Set(encoder.parameters().values());
    for (const [, tensor] of tensors) assert.ok(held.has(tensor) || tensor.disposed);
  }
  await assert.rejects(new T5Encoder(config).load(tensorsOf([])), LoadError);
});

test("what a config leaves out is transformers' default", () => {
  const defaults: T5Config = {
    vocabSize: 32128,
    dModel: 512,
    dKv: 64,
    dFf: 2048,
    numLayers: 6,
    numHeads: 8,
    relativeAttentionNumBuckets: 32,
    relativeAttentionMaxDistance: 128,
    layerNormEpsilon: 1e-6,
    feedForwardProj: "relu",
  };
  assert.deepEqual(t5Config({}), defaults);
  const names = (key: string) => (error: unknown) =>
    error instanceof ModelError && error.message.includes(key);
  assert.throws(() => t5Config({ feed_forward_proj: "gated-mish" }), names("feed_forward_proj"));
  assert.throws(
    () => t5Config({ relative_attention_num_buckets: 30 }),
    names("relative_attention_num_buckets"),
  );
  assert.throws(() => t5Config({ d_model: "512" }), names("d_model"));
});

test("ids outside the vocabulary are refused", () => {
  assert.throws(() => model.forward(Int32Array.of(1, 303)), MlxError);
  assert.throws(() => model.forward(Int32Array.of(-1)), MlxError);
  assert.throws(() => model.forward(new Int32Array(0)), MlxError);
});
