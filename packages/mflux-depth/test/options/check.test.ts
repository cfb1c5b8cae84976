import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import {
  checkOption,
  depthOptions,
  loadOptions,
  type OptionSpec,
  refuseUnknown,
  requestOptions,
} from "../../src/options/index.js";

const table: Readonly<Record<string, OptionSpec>> = { ...requestOptions, ...loadOptions, ...depthOptions };
const check = (name: string, value: unknown): unknown => checkOption(name, table[name]!.kind, value);

const labelOf = (value: unknown): string =>
  (typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 60);

describe("the refusal of a value names the option, the value and the allowed values:", () => {
  const refused: [string, unknown, RegExp][] = [
    ["prompt", "", /^prompt must be non-blank text of at most 20000 characters, not ""\.$/],
    ["prompt", " \n\t ", /non-blank text/],
    ["prompt", 7, /not 7/],
    ["prompt", "é".repeat(20_001), /of at most 20000 characters, not "é{57}…"\.$/],
    ["steps", 0, /^steps must be a whole number from 1 to 50, not 0\.$/],
    ["steps", 51, /not 51/],
    ["steps", 2.5, /not 2.5/],
    ["steps", "20", /not "20"/],
    ["steps", Number.NaN, /not NaN/],
    ["steps", 20n, /not 20/],
    ["guidance", -0.1, /^guidance must be a number from 0 to 100, not -0.1/],
    ["guidance", 1e300, /not 1e\+300/],
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
    ["depthImage", { data: [1, 2, 3] }, /depthImage must be a path.*a value of type object/],
    ["latents", [0, 1], /a Float32Array, or \{ data, shape \}.*not a list/],
    ["latents", { data: new Float32Array(4), shape: [1, 3] }, /as many values as the shape says/],
    ["latents", { data: new Float32Array(4), shape: [-2, -2] }, /as many values as the shape says/],
    ["latents", { data: new Float64Array(4), shape: [4] }, /a Float32Array/],
    ["quantize", 7, /one of 3, 4, 5, 6, 8, none, not 7/],
    ["dtype", "float64", /not "float64"/],
    ["device", "tpu", /one of gpu, cpu/],
    ["memory", "lots", /one of resident, low/],
    ["model", " ", /a repository/],
    ["model", { repo_id: "" }, /a repository/],
    ["model", { repo_id: "a/b", allow_patterns: "*.json" }, /a repository/],
    ["model", { repo_id: "a/b", revison: "v1" }, /a repository/],
    ["offline", "yes", /true or false, not "yes"/],
    ["loras", "a.safetensors", /^loras must be a list of files, folders or repositories/],
    ["loras", [{ source: "a", scale: "1" }], /loras must be a list/],
    ["loras", [{ source: " " }], /loras must be a list/],
    ["loras", [{ source: "a", strength: 1 }], /loras must be a list/],
    ["loras", [{ source: "a", scale: -101 }], /^loras: the scale must be from -100 to 100, not -101\.$/],
    ["loraScales", [1, 101], /^loraScales: each number must be from -100 to 100, not 101\.$/],
    ["loraScales", [1, Number.NaN], /^loraScales must be a list of numbers from -100 to 100/],
    ["loraScales", [101], /from -100 to 100/],
    ["threads", 0, /from 1 to 64/],
    ["threads", 65, /from 1 to 64/],
    ["cacheLimitGb", 0, /a number above 0, and at most 10000, not 0/],
    ["cacheLimitGb", 1e7, /not 10000000/],
    ["near", 101, /from 0 to 100/],
    ["gamma", 0, /from 0.01 to 100/],
  ];
  for (const [name, value, message] of refused)
    test(`${name} ${labelOf(value)}`, () => {
      assert.throws(
        () => check(name, value),
        (error) =>
          error instanceof OptionError &&
          error.exitCode === 2 &&
          error.option === name &&
          message.test(error.message),
      );
    });

  test("a long text, cut", () => {
    assert.throws(() => check("dtype", "f".repeat(100)), /not "f{57}…"\.$/);
  });
});

describe("a value is taken:", () => {
  const taken: [string, unknown][] = [
    ["steps", 1],
    ["steps", 50],
    ["guidance", 0],
    ["guidance", 3.5],
    ["seed", 2 ** 32 - 1],
    ["imageStrength", 1],
    ["quantize", "none"],
    ["quantize", 8],
    ["model", { repo_id: "a/b", path: null, allow_patterns: ["*.json"] }],
    ["image", Uint8Array.of(1)],
    ["image", { data: new Uint8Array(3), width: 1, height: 1, channels: 3 }],
    ["latents", new Float32Array(1)],
    ["latents", { data: new Float32Array(6), shape: [1, 2, 3] }],
    ["prompt", "🎉".repeat(20_000)],
    ["gamma", 0.01],
  ];
  for (const [name, value] of taken)
    test(`${name} ${labelOf(value)}`, () => {
      assert.equal(check(name, value), value);
    });
});

describe("a refusal's data", () => {
  const refusalOf = (name: string, value: unknown): OptionError => {
    try {
      check(name, value);
    } catch (error) {
      if (error instanceof OptionError) return error;
    }
    throw new Error("not refused");
  };

  test("has the option, the value and what was expected", () => {
    const { code, details } = refusalOf("steps", 51);
    assert.equal(code, "option-out-of-range");
    assert.deepEqual(details, { option: "steps", value: 51, expected: "a whole number from 1 to 50" });
  });

  test("tells a wrong type from a value outside the range", () => {
    assert.equal(refusalOf("steps", "20").code, "option-invalid");
  });

  test("has only the beginning of a long text", () => {
    assert.equal(refusalOf("prompt", "x".repeat(30_000)).details.value, `"${"x".repeat(57)}…"`);
  });

  for (const value of [Number.NaN, 2n, [1], undefined, new Float32Array(2)])
    test(`survives JSON for ${typeof value} ${String(value)}`, () => {
      const { details } = refusalOf("steps", value);
      assert.deepEqual(JSON.parse(JSON.stringify(details)), details);
    });
});

describe("an unknown option", () => {
  test("is refused with the nearest", () => {
    assert.throws(
      () => refuseUnknown(["stepz"], Object.keys(requestOptions)),
      (error) =>
        error instanceof OptionError &&
        error.code === "option-unknown" &&
        error.details.suggestion === "steps" &&
        /^There is no option stepz; did you mean steps\?$/.test(error.message),
    );
  });

  test("is refused without a suggestion when none is near", () => {
    assert.throws(
      () => refuseUnknown(["qqqqqq"], Object.keys(requestOptions)),
      /^OptionError: There is no option qqqqqq\.$/,
    );
  });

  test("is not seen where all are known", () => {
    assert.doesNotThrow(() => refuseUnknown(["steps", "seed"], Object.keys(requestOptions)));
  });
});
