import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toNpy } from "../../src/images/npy.js";

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
