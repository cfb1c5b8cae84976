import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
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
  const model = new T5Encoder(t5Config(readConfig(folder, "config.json"), "config.json"));
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

describe("the T5 encoder", () => {
  test("agrees with transformers about the embeddings of the golden texts", () => {
    using out = model.forward(ids);
    assert.deepEqual(out.shape, [6, 64, 128]);
    assert.ok(relativeError(values(out), embeds) <= 2e-5);
  });

  test("encodes a text alone as it does in a batch", () => {
    const all = Int32Array.from(ids.toTypedArray(), Number);
    for (let text = 0; text < 6; text++) {
      using out = model.forward(all.subarray(text * 64, (text + 1) * 64));
      assert.deepEqual(out.shape, [1, 64, 128]);
      const expected = embeds.slice(text * 64 * 128, (text + 1) * 64 * 128);
      assert.ok(relativeError(values(out), expected) <= 2e-5);
    }
  });

  for (const [dtype, floor, ceiling] of [
    ["bfloat16", 1e-4, 2e-2],
    ["float16", 1e-5, 2e-3],
  ] as const)
    test(`in ${dtype} keeps its dtype, and about its precision`, async () => {
      using half = await loadBundled(dtype);
      using out = half.forward(ids);
      assert.equal(out.dtype, dtype);
      const error = relativeError(values(out), embeds);
      assert.ok(error > floor && error < ceiling, `${error}`);
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
    ["an id behind the vocabulary", Int32Array.of(1, 303), /token id 303/],
    ["a negative id", Int32Array.of(-1), /token id -1/],
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

/** Sizes without common divisors. Heads times their width differ from the model's width. */
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

describe("the T5 encoder of another size agrees with plain loops", () => {
  const texts = [
    [3, 36, 7, 22, 7, 7, 0, 1, 2, 4, 9, 11, 1],
    [5, 5, 5, 35, 8, 9, 1, 4, 7, 0, 0, 0, 0],
  ];
  for (const feed_forward_proj of ["relu", "gated-gelu"])
    test(`with ${feed_forward_proj}`, () => {
      const config = t5Config({ ...small, feed_forward_proj }, "config.json");
      using encoder = new T5Encoder(config);
      using key = random.key(6);
      randomize(encoder, key, 0.4);
      using ids = array(Int32Array.from(texts.flat()), { shape: [2, 13] });
      using out = encoder.forward(ids);
      const expected = texts.map((text) => recompute(encoder, config, text));
      assert.ok(relativeError(values(out), expected.flat(2)) <= 2e-5);
    });
});

describe("the T5 encoder in float16 agrees with float32", () => {
  /** Compares both on an encoder whose values are too large for float16. */
  const compare = (enlarge: (encoder: T5Encoder) => void): void => {
    using encoder = new T5Encoder(t5Config(small, "config.json"));
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

  test("when the sums of a feed-forward exceed its range", () => {
    // They reach 10⁶; later blocks see them through their norms.
    compare((encoder) =>
      encoder.encoder.block[0]!.layer[1].DenseReluDense.wo.replace("weight", full([22, 50], 60_000)),
    );
  });

  test("when the residual stream exceeds its range", () => {
    // Embedding and attention are within the range, but their sum, 75,400, is not.
    compare((encoder) => {
      const { layerNorm, SelfAttention: attention } = encoder.encoder.block[0]!.layer[0];
      encoder.shared.replace("weight", full([37, 22], 60_000));
      layerNorm.replace("weight", full([22], 1));
      attention.v.replace("weight", full([35, 22], 1));
      attention.o.replace("weight", full([22, 35], 20));
    });
  });
});

describe("the buckets of relative positions", () => {
  /** The first row, for keys after the query, and the first column, for keys before it. */
  const edges = (
    tokens: number,
    buckets: number,
    maxDistance: number,
  ): { after: number[]; before: number[] } => {
    const all = relativePositionBuckets(tokens, buckets, maxDistance);
    return {
      after: [...all.subarray(0, tokens)],
      before: Array.from({ length: tokens }, (_, i) => all[i * tokens]!),
    };
  };

  // The distances at which the bucket changes, from the reference in float32.
  const starts: [tokens: number, buckets: number, maxDistance: number, starts: number[]][] = [
    [600, 32, 128, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]],
    [200, 16, 40, [0, 1, 2, 3, 4, 8, 13, 23]],
    [50, 8, 20, [0, 1, 2, 7]],
  ];
  for (const [tokens, buckets, maxDistance, expected] of starts)
    test(`are those of transformers: ${buckets} up to a distance of ${maxDistance}`, () => {
      const { before } = edges(tokens, buckets, maxDistance);
      const found = before.flatMap((bucket, distance) => (bucket !== before[distance - 1] ? [distance] : []));
      assert.deepEqual(found, expected);
    });

  test("are the same on both sides, in different halves", () => {
    const { after, before } = edges(600, 32, 128);
    assert.deepEqual(
      after.map((bucket, distance) => (distance === 0 ? bucket : bucket - 16)),
      before,
    );
  });
});

describe("tensor names of T5", () => {
  const key = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight";

  test("are unchanged in the encoder", () => {
    for (const name of [key, "shared.weight", "encoder.decoder.weight"])
      assert.equal(T5Encoder.sanitize(name), name);
  });

  test("have two names for the embeddings", () => {
    assert.equal(T5Encoder.sanitize("encoder.embed_tokens.weight"), "shared.weight");
  });

  for (const unused of [
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.0.layer_norm.weight",
    "lm_head.weight",
  ])
    test(`do not need ${unused}`, () => {
      assert.equal(T5Encoder.sanitize(unused), null);
    });
});

describe("loading the embeddings of T5", () => {
  const config = t5Config({ ...small, num_layers: 1, feed_forward_proj: "relu" }, "config.json");
  /** Tensors of an encoder: embeddings under these names, and everything else. */
  const tensorsWith = (names: readonly string[]): [string, MxArray][] => {
    using model = new T5Encoder(config);
    const others = [...model.parameters()]
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
  ])
    test(`works with ${names.join(" and ")}`, async () => {
      const tensors = tensorsWith(names);
      using encoder = new T5Encoder(config);
      await encoder.load(tensors);
      assert.deepEqual(values(encoder.shared.weight), new Float32Array(37 * 22).fill(3));
      const held = new Set(encoder.parameters().values());
      for (const [, tensor] of tensors) assert.ok(held.has(tensor) || tensor.disposed);
    });

  test("fails without them", async () => {
    await assert.rejects(new T5Encoder(config).load(tensorsWith([])), LoadError);
  });
});

describe("the config of a T5 encoder", () => {
  test("has transformers' defaults", () => {
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
    assert.deepEqual(t5Config({}, "config.json"), defaults);
  });

  for (const [name, config, message] of [
    ["an unknown feed-forward", { feed_forward_proj: "gated-mish" }, /feed_forward_proj/],
    [
      "buckets that do not divide into four",
      { relative_attention_num_buckets: 30 },
      /relative_attention_num_buckets/,
    ],
    ["a number as text", { d_model: "512" }, /d_model/],
  ] as const)
    test(`refuses ${name}`, () => {
      assert.throws(
        () => t5Config(config, "config.json"),
        (error) => error instanceof ModelError && message.test(error.message),
      );
    });
});
