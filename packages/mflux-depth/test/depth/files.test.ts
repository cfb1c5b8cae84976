import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkFileOptions, depthFormatOf, toNpy } from "../../src/depth/files.js";
import { OptionError } from "../../src/errors.js";

describe("toNpy", () => {
  const values = Float32Array.of(0, 1, -2.5, 3, 1e-9, 5);
  const bytes = Buffer.from(toNpy(values, 3, 2));
  const start = 10 + bytes.readUInt16LE(8);

  test("begins with NumPy's magic and version 1.0", () => {
    assert.equal(bytes.toString("latin1", 0, 8), "\x93NUMPY\x01\x00");
  });

  test("describes the array in a header that ends at a multiple of 64", () => {
    assert.equal(start % 64, 0);
    assert.match(
      bytes.toString("latin1", 10, start),
      /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(2, 3\), \} *\n$/,
    );
  });

  test("holds the values in little-endian float32", () => {
    assert.equal(bytes.length, start + 4 * values.length);
    assert.deepEqual(
      values.map((_, i) => bytes.readFloatLE(start + 4 * i)),
      values,
    );
  });
});

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
