import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
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
  const model = new ClipTextEncoder(clipTextConfig(readConfig(folder, "config.json"), "config.json"));
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

describe("the CLIP text encoder", () => {
  test("agrees with transformers about the pooled embeddings of the golden texts", () => {
    using out = model.forward(ids);
    assert.deepEqual(out.shape, [6, 64]);
    assert.ok(relativeError(values(out), pooled) <= 2e-5);
  });

  test("encodes a text alone as it does in a batch", () => {
    const all = Int32Array.from(ids.toTypedArray(), Number);
    for (let text = 0; text < 6; text++) {
      using out = model.forward(all.subarray(text * 77, (text + 1) * 77));
      assert.deepEqual(out.shape, [1, 64]);
      assert.ok(relativeError(values(out), pooled.slice(text * 64, (text + 1) * 64)) <= 2e-5);
    }
  });

  test("in bfloat16 keeps its dtype, and about its precision", async () => {
    using half = await loadBundled("bfloat16");
    using out = half.forward(ids);
    assert.equal(out.dtype, "bfloat16");
    const error = relativeError(values(out), pooled);
    assert.ok(error > 1e-4 && error < 2e-2, `${error}`);
  });

  test("leaves only its result in memory", () => {
    const before = memory.liveHandles();
    using _out = model.forward(ids);
    assert.equal(memory.liveHandles(), before + 1);
  });

  test("leaves nothing in memory when it ends early", () => {
    const before = memory.liveHandles();
    const stages = model.stages(ids);
    stages.next();
    assert.ok(memory.liveHandles() > before);
    stages.return(undefined as never);
    assert.equal(memory.liveHandles(), before);
  });

  const refusals: [name: string, ids: Int32Array, message: RegExp][] = [
    ["an id behind the vocabulary", Int32Array.of(862, 864), /token id 864 is not in the vocabulary of 864/],
    ["a negative id", Int32Array.of(-1), /token id -1/],
    ["more tokens than positions", new Int32Array(78), /78 tokens, but the encoder has only 77 positions/],
    ["no tokens", new Int32Array(0), /at least one token/],
  ];
  for (const [name, refused, message] of refusals)
    test(`refuses ${name}`, () => {
      assert.throws(
        () => model.forward(refused),
        (error) => error instanceof MlxError && message.test(error.message),
      );
    });
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

describe("the CLIP text encoder of another size agrees with plain loops", () => {
  const config = clipTextConfig(
    {
      vocab_size: 41,
      hidden_size: 30,
      intermediate_size: 52,
      num_hidden_layers: 3,
      num_attention_heads: 5,
      max_position_embeddings: 13,
      layer_norm_eps: 1e-3,
      eos_token_id: 7,
    },
    "config.json",
  );
  const texts = [
    [3, 40, 7, 22, 7, 7, 0, 1, 2],
    [5, 5, 5, 39, 8, 9, 1, 4, 7],
  ];
  for (const hiddenAct of ["gelu", "quick_gelu"] as const)
    test(`with ${hiddenAct}`, () => {
      using small = new ClipTextEncoder({ ...config, hiddenAct });
      using key = random.key(5);
      randomize(small, key, 0.4);
      using ids = array(Int32Array.from(texts.flat()), { shape: [2, 9] });
      using out = small.forward(ids);
      const expected = texts.map(
        (text) => recompute(small, { ...config, hiddenAct }, text)[text.indexOf(7)]!,
      );
      assert.ok(relativeError(values(out), expected.flat()) <= 2e-5);
    });
});

describe("the pooled position", () => {
  const rows = [
    [862, 5, 863, 863, 863],
    [862, 2, 9, 5, 9],
    [1, 1, 1, 1, 1],
  ];

  test("is that of the first end token, or else the first of all", () => {
    assert.deepEqual(pooledPositions(rows, 863), [2, 0, 0]);
    assert.deepEqual(pooledPositions(rows, 9), [0, 2, 0]);
  });

  test("is that of the highest id if the config says 2", () => {
    assert.deepEqual(pooledPositions(rows, 2), [2, 0, 0]);
  });
});

describe("tensor names of CLIP", () => {
  const key = "encoder.layers.0.layer_norm1.weight";

  test("come with or without a prefix", () => {
    assert.equal(ClipTextEncoder.sanitize(`text_model.${key}`), key);
    assert.equal(ClipTextEncoder.sanitize(key), key);
  });

  for (const unused of [
    "text_model.embeddings.position_ids",
    "embeddings.position_ids",
    "vision_model.encoder.layers.0.layer_norm1.weight",
    "logit_scale",
    "text_projection.weight",
    "visual_projection.weight",
  ])
    test(`do not need ${unused}`, () => {
      assert.equal(ClipTextEncoder.sanitize(unused), null);
    });

  test("need everything else", () => {
    assert.equal(ClipTextEncoder.sanitize("encoder.logit_scale.weight"), "encoder.logit_scale.weight");
  });
});

describe("the config of a CLIP text encoder", () => {
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

  test("has transformers' defaults", () => {
    assert.deepEqual(clipTextConfig({}, "config.json"), defaults);
  });

  test("may be part of the config of a whole CLIP", () => {
    assert.deepEqual(clipTextConfig({ text_config: { hidden_size: 64 } }, "config.json"), {
      ...defaults,
      hiddenSize: 64,
    });
  });

  for (const [name, config, message] of [
    ["an unknown activation", { hidden_act: "mish" }, /hidden_act/],
    ["a width that heads do not divide", { hidden_size: 100 }, /num_attention_heads/],
    ["a list", [], /config\.json/],
  ] as const)
    test(`refuses ${name}`, () => {
      assert.throws(
        () => clipTextConfig(config, "config.json"),
        (error) => error instanceof ModelError && message.test(error.message),
      );
    });
});
