import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  array,
  type DType,
  loadSafetensors,
  MlxError,
  type MxArray,
  memory,
  random,
  type Safetensors,
} from "@mflux-depth/mlx";
import { randomize } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import { readConfig } from "../../src/files/json.js";
import {
  type ClipTextConfig,
  ClipTextEncoder,
  clipTextConfig,
  pooledPositions,
} from "../../src/models/clip.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { attend, erf, linear, type Matrix, matrix, plus } from "../support/float64.js";
import { relativeError, values } from "../support/tensors.js";

const folder = fileURLToPath(new URL("../../../models/tiny-world/text_encoder", import.meta.url));
const goldenFile = fileURLToPath(new URL("../../../test/golden/text_encoders.safetensors", import.meta.url));

async function loadBundled(dtype: DType): Promise<ClipTextEncoder> {
  const model = new ClipTextEncoder(clipTextConfig(readConfig(folder, "config.json")));
  await loadWeights(model, openCheckpoint(folder), { dtype, rename: ClipTextEncoder.sanitize });
  return model;
}

let golden: Safetensors;
let model: ClipTextEncoder;
let ids: MxArray;
let pooled: Float32Array;

before(async () => {
  golden = loadSafetensors(goldenFile);
  model = await loadBundled("float32");
  ids = golden.arrays.get("clip_ids")!;
  pooled = values(golden.arrays.get("pooled")!);
});
after(() => {
  for (const tensor of golden.arrays.values()) tensor.dispose();
  model.dispose();
});

test("the pooled vectors of the golden texts are transformers'", () => {
  using out = model.forward(ids);
  assert.deepEqual(out.shape, [6, 64]);
  assert.ok(relativeError(values(out), pooled) <= 2e-5);
});

test("a text alone gives what it gives among others", () => {
  const all = Int32Array.from(ids.toTypedArray(), Number);
  for (let text = 0; text < 6; text++) {
    using out = model.forward(all.subarray(text * 77, (text + 1) * 77));
    assert.deepEqual(out.shape, [1, 64]);
    assert.ok(relativeError(values(out), pooled.slice(text * 64, (text + 1) * 64)) <= 2e-5);
  }
});

test("bfloat16 keeps its dtype and about its precision", async () => {
  using half = await loadBundled("bfloat16");
  using out = half.forward(ids);
  assert.equal(out.dtype, "bfloat16");
  const error = relativeError(values(out), pooled);
  assert.ok(error > 1e-4 && error < 2e-2, `${error}`);
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

/** The encoder in plain loops (transformers: models/clip/modeling_clip.py). */
function recompute(model: ClipTextEncoder, config: ClipTextConfig, ids: readonly number[]): Matrix {
  const parameters = model.parameters();
  const vector = (name: string): number[] => [...values(parameters.get(name)!)];
  const weight = (name: string): Matrix => matrix(vector(name), parameters.get(name)!.shape[1]!);
  const project = (x: Matrix, name: string): Matrix =>
    linear(x, weight(`${name}.weight`), vector(`${name}.bias`));
  const normalize = (x: Matrix, name: string): Matrix => {
    const [factor, offset] = [vector(`${name}.weight`), vector(`${name}.bias`)];
    return x.map((row) => {
      const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
      return row.map(
        (v, i) => ((v - mean) / Math.sqrt(variance + config.layerNormEps)) * factor[i]! + offset[i]!,
      );
    });
  };
  const activation = (v: number): number =>
    config.hiddenAct === "gelu" ? 0.5 * v * (1 + erf(v / Math.SQRT2)) : v / (1 + Math.exp(-1.702 * v));

  const scale = (config.hiddenSize / config.numAttentionHeads) ** -0.5;
  const [tokens, positions] = [
    weight("embeddings.tokenEmbedding.weight"),
    weight("embeddings.positionEmbedding.weight"),
  ];
  let x = ids.map((id, position) => tokens[id]!.map((v, i) => v + positions[position]![i]!));
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const at = `encoder.layers.${layer}`;
    const normalized = normalize(x, `${at}.layerNorm1`);
    const qkv = [
      project(normalized, `${at}.selfAttn.qProj`),
      project(normalized, `${at}.selfAttn.kProj`),
      project(normalized, `${at}.selfAttn.vProj`),
    ] as const;
    const attended = attend(qkv, config.numAttentionHeads, (product, query, key) =>
      key > query ? Number.NEGATIVE_INFINITY : product * scale,
    );
    x = plus(x, project(attended, `${at}.selfAttn.outProj`));
    const inner = project(normalize(x, `${at}.layerNorm2`), `${at}.mlp.fc1`);
    x = plus(
      x,
      project(
        inner.map((row) => row.map(activation)),
        `${at}.mlp.fc2`,
      ),
    );
  }
  return normalize(x, "finalLayerNorm");
}

test("another size, GELU and end token agree with a recomputation in plain loops", () => {
  const config = clipTextConfig({
    vocab_size: 41,
    hidden_size: 30,
    intermediate_size: 52,
    num_hidden_layers: 3,
    num_attention_heads: 5,
    max_position_embeddings: 13,
    layer_norm_eps: 1e-3,
    eos_token_id: 7,
  });
  const texts = [
    [3, 40, 7, 22, 7, 7, 0, 1, 2],
    [5, 5, 5, 39, 8, 9, 1, 4, 7],
  ];
  for (const hiddenAct of ["gelu", "quick_gelu"] as const) {
    using small = new ClipTextEncoder({ ...config, hiddenAct });
    using key = random.key(5);
    randomize(small, key, 0.4);
    using ids = array(Int32Array.from(texts.flat()), { shape: [2, 9] });
    using out = small.forward(ids);
    const expected = texts.map((text) => recompute(small, { ...config, hiddenAct }, text)[text.indexOf(7)]!);
    assert.ok(relativeError(values(out), expected.flat()) <= 2e-5);
  }
});

test("the pooled token is the first end token, or the highest id where the config says 2", () => {
  const rows = [
    [862, 5, 863, 863, 863],
    [862, 2, 9, 5, 9],
    [1, 1, 1, 1, 1],
  ];
  assert.deepEqual(pooledPositions(rows, 2), [2, 0, 0]);
  assert.deepEqual(pooledPositions(rows, 863), [2, 0, 0]);
  assert.deepEqual(pooledPositions(rows, 9), [0, 2, 0]);
});

test("keys come with or without a prefix, and only a CLIP's other parts are unused", () => {
  const key = "encoder.layers.0.layer_norm1.weight";
  assert.equal(ClipTextEncoder.sanitize(`text_model.${key}`), key);
  assert.equal(ClipTextEncoder.sanitize(key), key);
  for (const unused of [
    "text_model.embeddings.position_ids",
    "embeddings.position_ids",
    "vision_model.encoder.layers.0.layer_norm1.weight",
    "logit_scale",
    "text_projection.weight",
    "visual_projection.weight",
  ])
    assert.equal(ClipTextEncoder.sanitize(unused), null);
  assert.equal(ClipTextEncoder.sanitize("encoder.logit_scale.weight"), "encoder.logit_scale.weight");
});

test("what a config leaves out is transformers' default", () => {
  const defaults: ClipTextConfig = {
    vocabSize: 49408,
    hiddenSize: 512,
    intermediateSize: 2048,
    numHiddenLayers: 12,
    numAttentionHeads: 8,
    maxPositionEmbeddings: 77,
    layerNormEps: 1e-5,
    hiddenAct: "quick_gelu",
    eosTokenId: 49407,
  };
  assert.deepEqual(clipTextConfig({}), defaults);
  assert.deepEqual(clipTextConfig({ text_config: { hidden_size: 64 } }), { ...defaults, hiddenSize: 64 });
  const names = (key: string) => (error: unknown) =>
    error instanceof ModelError && error.message.includes(key);
  assert.throws(() => clipTextConfig({ hidden_act: "mish" }), names("hidden_act"));
  assert.throws(() => clipTextConfig({ hidden_size: 100 }), names("num_attention_heads"));
  assert.throws(() => clipTextConfig([]), names("config.json"));
});

test("ids outside the vocabulary or the positions are refused", () => {
  assert.throws(() => model.forward(Int32Array.of(862, 864)), MlxError);
  assert.throws(() => model.forward(Int32Array.of(-1)), MlxError);
  assert.throws(() => model.forward(new Int32Array(78)), /77 positions/);
  assert.throws(() => model.forward(new Int32Array(0)), MlxError);
});
