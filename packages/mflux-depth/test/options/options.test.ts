import assert from "node:assert/strict";
import { test } from "node:test";
import { OptionError } from "../../src/errors.js";
import {
  describeKind,
  type GenerateRequest,
  type LoadOptions,
  loadOptions,
  nearest,
  parseOption,
  refuseUnknown,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../../src/options/index.js";

const request = (more: Record<string, unknown> = {}): GenerateRequest =>
  ({ prompt: "a cube", depthImage: "map.png", ...more }) as GenerateRequest;

test("defaults", () => {
  const { seed, ...rest } = resolveRequest(request());
  assert.deepEqual(rest, {
    prompt: "a cube",
    image: undefined,
    depthImage: "map.png",
    invertDepth: false,
    trustDepth: false,
    imageStrength: 0,
    steps: 20,
    guidance: 10,
    width: 1024,
    height: 1024,
    maxSequenceLength: undefined,
    latents: undefined,
    warnings: [],
  });
  assert.ok(Number.isInteger(seed) && seed >= 1 && seed < 2 ** 32);
  assert.deepEqual(resolveLoadOptions({}), {
    model: "black-forest-labs/FLUX.1-Depth-dev",
    revision: undefined,
    variant: undefined,
    path: undefined,
    allowPatterns: [],
    ignorePatterns: [],
    offline: false,
    configFrom: undefined,
    depthModel: undefined,
    quantize: 4,
    int8: undefined,
    dtype: undefined,
    device: undefined,
    memory: "resident",
    threads: undefined,
    cacheLimitGb: undefined,
    force: false,
  });
});

test("inverting without a map has no effect, and says so", () => {
  const inverted = resolveRequest(request({ invertDepth: true }));
  assert.deepEqual([inverted.invertDepth, inverted.warnings], [true, []]);
  const { warnings } = resolveRequest(
    request({ depthImage: undefined, image: "photo.jpg", invertDepth: true }),
  );
  assert.match(warnings.join(), /invertDepth has no effect/);
});

test("values at the ends of their ranges are taken", () => {
  const { steps, guidance, width, height, seed } = resolveRequest(
    request({ steps: 50, guidance: 0, width: 16, height: 4096, seed: 2 ** 32 - 1 }),
  );
  assert.deepEqual([steps, guidance, width, height, seed], [50, 0, 16, 4096, 4294967295]);
  assert.equal(resolveLoadOptions({ quantize: null }).quantize, null);
  assert.equal(resolveLoadOptions({ quantize: "none" }).quantize, null);
  assert.equal(resolveLoadOptions({ quantize: 8 }).quantize, 8);
});

test("every bad value is refused by name, with what it is and what it may be", () => {
  const bad: [string, unknown, RegExp][] = [
    ["prompt", "", /^prompt must be a text that is not blank, not ""/],
    ["prompt", " \n\t ", /not blank/],
    ["prompt", 7, /not 7/],
    ["prompt", undefined, /prompt is missing/],
    ["steps", 0, /^steps must be a whole number from 1 to 50, not 0\.$/],
    ["steps", 51, /not 51/],
    ["steps", 2.5, /not 2.5/],
    ["steps", "20", /not "20"/],
    ["steps", Number.NaN, /not NaN/],
    ["guidance", -0.1, /^guidance must be a number of at least 0, not -0.1/],
    ["guidance", Number.POSITIVE_INFINITY, /not Infinity/],
    ["width", 15, /from 16 to 4096, not 15/],
    ["width", 4097, /not 4097/],
    ["height", 512.5, /not 512.5/],
    ["height", -16, /not -16/],
    ["seed", -1, /from 0 to 4294967295, not -1/],
    ["seed", 2 ** 32, /not 4294967296/],
    ["imageStrength", 1.01, /a number from 0 to 1/],
    ["maxSequenceLength", 513, /from 1 to 512/],
    ["image", 5, /image must be a path/],
    ["depthImage", { data: [1, 2, 3] }, /depthImage must be a path/],
    ["latents", [0, 1], /a Float32Array, not a list/],
  ];
  for (const [option, value, message] of bad)
    assert.throws(
      () => resolveRequest(request({ [option]: value })),
      (error) =>
        error instanceof OptionError &&
        error.exitCode === 2 &&
        error.option === option &&
        message.test(error.message),
      `${option}: ${String(value)}`,
    );
  for (const [option, value] of [
    ["quantize", 7],
    ["dtype", "float64"],
    ["device", "tpu"],
    ["memory", "lots"],
    ["model", " "],
    ["model", { repo_id: "" }],
    ["model", { repo_id: "a/b", allow_patterns: "*.json" }],
    ["model", { repo_id: "a/b", revison: "v1" }],
    ["offline", "yes"],
    ["threads", 0],
    ["threads", 65],
    ["cacheLimitGb", 0],
  ])
    assert.throws(
      () => resolveLoadOptions({ [option as string]: value } as LoadOptions),
      (error) => error instanceof OptionError && error.option === option,
      `${option}`,
    );
});

test("a model is a name, or a reference with its parts", () => {
  assert.equal(resolveLoadOptions({ model: "a/b" }).model, "a/b");
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
  assert.throws(
    () => resolveLoadOptions({ model: { repo_id: "a/b", variant: "fp16" }, variant: "bf16" }),
    /variant is bf16, but the model is given with variant fp16/,
  );
});

test("options that contradict each other are refused", () => {
  assert.throws(() => resolveRequest({ prompt: "x" }), /depth map \(depthImage\) or a photo/);
  assert.throws(() => resolveRequest(request({ imageStrength: 0.5 })), /no photo/);
  assert.throws(() => resolveRequest(request({ latents: Float32Array.of(Number.NaN) })), /not finite/);
});

test("the strength of a photo depends on the map beside it", () => {
  assert.equal(resolveRequest(request({ image: "a.jpg" })).imageStrength, 0.3);
  assert.equal(resolveRequest(request({ image: "a.jpg", imageStrength: 0 })).imageStrength, 0);
  assert.equal(resolveRequest({ prompt: "x", image: "a.jpg" }).imageStrength, 0);
  assert.equal(resolveRequest({ prompt: "x", image: "a.jpg", imageStrength: 0.4 }).imageStrength, 0.4);
});

test("sizes are floored to 16 with a warning", () => {
  const { width, height, warnings } = resolveRequest(request({ width: 1000, height: 768 }));
  assert.deepEqual([width, height], [992, 768]);
  assert.deepEqual(warnings, ["width 1000 is not a multiple of 16: 992 is used."]);
});

test("seed 0 draws a new one each time, others stay", () => {
  const drawn = new Set(Array.from({ length: 50 }, () => resolveRequest(request({ seed: 0 })).seed));
  assert.ok(drawn.size >= 49);
  assert.equal(resolveRequest(request({ seed: 1 })).seed, 1);
});

test("texts are read as the values they mean, or refused", () => {
  const parse = (option: keyof GenerateRequest, text: string) =>
    parseOption(option, requestOptions[option].kind, text);
  assert.equal(parse("steps", "20"), 20);
  assert.equal(parse("guidance", "3.5"), 3.5);
  assert.equal(parse("guidance", ".5"), 0.5);
  assert.equal(parse("guidance", "1e1"), 10);
  assert.equal(parseOption("quantize", loadOptions.quantize.kind, "4"), 4);
  assert.equal(parseOption("quantize", loadOptions.quantize.kind, "None"), "none");
  for (const text of ["", " ", "abc", "12abc", "0x10", "1,5", "NaN", "Infinity", "--3", "1_000", "２０"])
    assert.throws(() => parse("steps", text), OptionError, JSON.stringify(text));
  assert.throws(
    () => parse("steps", "abc"),
    /^OptionError: steps must be a whole number from 1 to 50, not "abc"\.$/,
  );
  assert.throws(() => parse("image", " "), /must be the path of a file/);
  assert.throws(() => parseOption("quantize", loadOptions.quantize.kind, "7"), /one of 3, 4, 5, 6, 8, none/);
});

test("an option that does not exist is refused with the nearest that does", () => {
  assert.throws(() => refuseUnknown(["stepz"], Object.keys(requestOptions)), /did you mean steps\?/);
  assert.throws(
    () => refuseUnknown(["qqqqqq"], Object.keys(requestOptions)),
    /^OptionError: There is no option qqqqqq\.$/,
  );
  refuseUnknown(["steps", "seed"], Object.keys(requestOptions));
  assert.equal(nearest("--hight", ["--height", "--width"]), "--height");
});

test("the table is complete: defaults pass their own checks, flags are unique", () => {
  const flags = new Set<string>();
  for (const [name, spec] of [...Object.entries(requestOptions), ...Object.entries(loadOptions)]) {
    if (spec.default !== undefined)
      assert.equal(parseOption(name, spec.kind, `${spec.default}`), spec.default);
    assert.ok(spec.text.endsWith("."), name);
    assert.ok(describeKind(spec.kind).length > 0);
    for (const flag of spec.flags) {
      assert.ok(!flags.has(flag), flag);
      flags.add(flag);
    }
  }
});
