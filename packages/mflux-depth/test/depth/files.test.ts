import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkFileOptions, depthFormatOf } from "../../src/depth/files.js";
import { OptionError } from "../../src/errors.js";

describe("depthFormatOf", () => {
  for (const [name, format] of [
    ["a.npy", "npy"],
    ["a.PNG", "png"],
    ["a.jpg", "jpeg"],
    ["a.webp", "webp"],
  ] as const)
    test(`takes ${name} as ${format}`, () => assert.equal(depthFormatOf(name), format));

  test("refuses other extensions", () =>
    assert.throws(
      () => depthFormatOf("depth.exr"),
      (error) => error instanceof OptionError && /must end in .*\.npy/.test(error.message),
    ));
});

describe("checkFileOptions", () => {
  const wrong: [string, Parameters<typeof checkFileOptions>[0]][] = [
    ["16 bits in JPEG", { format: "jpeg", bits: 16 }],
    ["16 bits in colours", { format: "png", bits: 16, colour: true }],
    ["metres in an image", { format: "png", metres: true }],
    ["colours in an array", { format: "npy", colour: true }],
    ["adjustments of an array", { format: "npy", invert: true }],
    ["adjustments out of order", { format: "png", near: 10, far: 20 }],
  ];
  for (const [what, options] of wrong)
    test(`refuses ${what}`, () => assert.throws(() => checkFileOptions(options), OptionError));

  test("names the option that an array cannot have", () =>
    assert.throws(() => checkFileOptions({ format: "npy", gamma: 2 }), { option: "gamma" }));

  test("accepts adjustments of an image", () => {
    assert.equal(checkFileOptions({ format: "png", bits: 16, near: 90 }).near, 90);
  });
});
