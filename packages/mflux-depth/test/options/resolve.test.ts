import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import { type GenerateRequest, resolveLoadOptions, resolveRequest } from "../../src/options/index.js";

const request = (more: Record<string, unknown> = {}): GenerateRequest =>
  ({ prompt: "a cube", depthImage: "map.png", ...more }) as GenerateRequest;

describe("a request", () => {
  test("has defaults for all but the prompt and an image", () => {
    const { seed, ...rest } = resolveRequest(request());
    assert.deepEqual(rest, {
      prompt: "a cube",
      image: undefined,
      depthImage: "map.png",
      invertDepth: false,
      depthNear: 100,
      depthFar: 0,
      depthGamma: 1,
      trustDepth: false,
      imageStrength: 0,
      steps: 20,
      guidance: 10,
      fit: "stretch",
      depthStrength: 1,
      depthStart: 0,
      depthStop: 1,
      size: undefined,
      maskImage: undefined,
      width: 1024,
      height: 1024,
      maxSequenceLength: undefined,
      latents: undefined,
      loraScales: undefined,
      warnings: [],
    });
    assert.ok(Number.isInteger(seed) && seed >= 1 && seed < 2 ** 32);
  });

  test("keeps the values at the ends of their ranges", () => {
    const { steps, guidance, width, height, seed } = resolveRequest(
      request({ steps: 50, guidance: 0, width: 16, height: 4096, seed: 2 ** 32 - 1 }),
    );
    assert.deepEqual([steps, guidance, width, height, seed], [50, 0, 16, 4096, 4294967295]);
  });

  test("takes null for not given", () => {
    assert.equal(resolveRequest(request({ steps: null })).steps, 20);
  });

  test("refuses a value that its option cannot have", () => {
    assert.throws(
      () => resolveRequest(request({ steps: 51 })),
      (error) => error instanceof OptionError && error.option === "steps" && /not 51/.test(error.message),
    );
  });

  for (const prompt of [undefined, null])
    test(`refuses a prompt of ${prompt}`, () => {
      assert.throws(
        () => resolveRequest(request({ prompt })),
        (error) => error instanceof OptionError && error.code === "option-missing",
      );
    });

  test("refuses to have neither a depth map nor a photo", () => {
    assert.throws(
      () => resolveRequest({ prompt: "x" }),
      (error) => {
        assert.ok(error instanceof OptionError && error.code === "option-missing");
        assert.match(error.message, /neither a depth map nor a photo/);
        assert.deepEqual(
          error.details.remedies?.map((remedy) => "option" in remedy && remedy.option),
          ["depthImage", "image"],
        );
        return true;
      },
    );
  });

  test("requires a photo for imageStrength", () => {
    assert.throws(
      () => resolveRequest(request({ imageStrength: 0.5 })),
      (error) => error instanceof OptionError && error.code === "option-conflict",
    );
  });

  test("refuses noise that is not finite", () => {
    const data = Float32Array.of(Number.NaN);
    for (const latents of [data, { data, shape: [1] }])
      assert.throws(() => resolveRequest(request({ latents })), /finite/);
  });

  test("floors its size to a multiple of 16, with a warning", () => {
    const { width, height, warnings } = resolveRequest(request({ width: 1000, height: 768 }));
    assert.deepEqual([width, height], [992, 768]);
    assert.deepEqual(warnings, ["width 1000 is not a multiple of 16; using 992."]);
  });

  test("draws a new seed in place of 0 each time", () => {
    const drawn = new Set(Array.from({ length: 50 }, () => resolveRequest(request({ seed: 0 })).seed));
    assert.ok(drawn.size >= 49);
  });

  test("keeps a seed other than 0", () => {
    assert.equal(resolveRequest(request({ seed: 1 })).seed, 1);
  });

  test("inverts its depth map without a warning", () => {
    const { invertDepth, warnings } = resolveRequest(request({ invertDepth: true }));
    assert.deepEqual([invertDepth, warnings], [true, []]);
  });

  test("refuses percentiles of the depth in the wrong order", () => {
    assert.throws(
      () => resolveRequest(request({ depthNear: 20, depthFar: 20 })),
      (error) =>
        error instanceof OptionError &&
        error.option === "depthNear" &&
        /depthNear \(20\) must be above depthFar \(20\)/.test(error.message),
    );
  });
});

describe("the strength of a photo", () => {
  const strengths: [string, Partial<GenerateRequest>, number][] = [
    ["is 0.3 next to a depth map", { depthImage: "map.png" }, 0.3],
    ["is 0 without a depth map", {}, 0],
    ["can be 0 next to a depth map", { depthImage: "map.png", imageStrength: 0 }, 0],
    ["can be set without a depth map", { imageStrength: 0.4 }, 0.4],
  ];
  for (const [what, given, strength] of strengths)
    test(what, () => {
      assert.equal(resolveRequest({ prompt: "x", image: "a.jpg", ...given }).imageStrength, strength);
    });
});

describe("load options", () => {
  test("have defaults, or undefined where the machine decides", () => {
    assert.deepEqual(resolveLoadOptions({}), {
      model: "black-forest-labs/FLUX.1-Depth-dev",
      revision: undefined,
      variant: undefined,
      path: undefined,
      allowPatterns: [],
      ignorePatterns: [],
      offline: false,
      textEncoder: undefined,
      textEncoder2: undefined,
      vae: undefined,
      componentsFrom: undefined,
      configFrom: undefined,
      depthModel: undefined,
      depthQuantize: undefined,
      depthInt8: undefined,
      quantize: 4,
      int8: undefined,
      loras: [],
      bakeLora: false,
      loraLenient: false,
      dtype: undefined,
      device: undefined,
      memory: "resident",
      threads: undefined,
      cacheLimitGb: undefined,
      force: false,
    });
  });

  const bits = [
    [null, null],
    ["none", null],
    [8, 8],
    [undefined, 4],
  ] as const;
  for (const [given, resolved] of bits)
    test(`resolve quantize ${given} to ${resolved}`, () => {
      assert.equal(resolveLoadOptions({ quantize: given }).quantize, resolved);
    });

  test("take a model by its name", () => {
    assert.equal(resolveLoadOptions({ model: "a/b" }).model, "a/b");
  });

  test("take a model by a reference", () => {
    const { model, path, variant, allowPatterns, ignorePatterns } = resolveLoadOptions({
      model: {
        type: "hf.flux_depth",
        repo_id: "a/b",
        path: "q4",
        variant: "fp16",
        allow_patterns: ["*.json"],
        ignore_patterns: null,
      },
    });
    assert.deepEqual(
      [model, path, variant, allowPatterns, ignorePatterns],
      ["a/b", "q4", "fp16", ["*.json"], []],
    );
  });

  test("refuse a variant that contradicts the reference", () => {
    assert.throws(
      () => resolveLoadOptions({ model: { repo_id: "a/b", variant: "fp16" }, variant: "bf16" }),
      /variant is bf16, but the model is given with variant fp16/,
    );
  });
});
