import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { estimatorPrecision, multipliesDepthAsIntegers } from "../../src/depth/precision.js";
import { OptionError } from "../../src/errors.js";

const can = multipliesDepthAsIntegers();
const float32 = { bits: null, int8: false };

describe("estimatorPrecision", () => {
  const chosen = [
    [
      "8-bit integers where this machine multiplies them, by default",
      {},
      can ? { bits: 8, int8: true } : float32,
    ],
    [
      "the same for options that are null",
      { depthQuantize: null, depthInt8: null },
      can ? { bits: 8, int8: true } : float32,
    ],
    ["float32 if asked for by the bits", { depthQuantize: "none" }, float32],
    ["float32 if 8-bit inputs are refused", { depthInt8: false }, float32],
    ["8-bit weights with exact products", { depthQuantize: 8, depthInt8: false }, { bits: 8, int8: false }],
    ["8-bit inputs for 8-bit weights where possible", { depthQuantize: 8 }, { bits: 8, int8: can }],
  ] as const;
  for (const [what, options, expected] of chosen)
    test(`chooses ${what}`, () => assert.deepEqual(estimatorPrecision(options), expected));

  test("refuses 8-bit inputs for float32 weights, and where the machine cannot multiply them", () =>
    assert.throws(() => estimatorPrecision({ depthInt8: true, depthQuantize: "none" }), OptionError));
});
