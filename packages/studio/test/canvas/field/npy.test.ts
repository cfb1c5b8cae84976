import assert from "node:assert/strict";
import { test } from "node:test";
import { fieldFromNpy } from "../../../src/canvas/field/npy.js";

/** An .npy file as NumPy writes it. */
function npy(header: string, values: readonly number[], version = 1): ArrayBuffer {
  const text = new TextEncoder().encode(header);
  const start = version === 1 ? 10 : 12;
  const bytes = new ArrayBuffer(start + text.length + 4 * values.length);
  const view = new DataView(bytes);
  new Uint8Array(bytes).set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  if (version === 1) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  new Uint8Array(bytes).set(text, start);
  for (const [i, value] of values.entries()) view.setFloat32(start + text.length + 4 * i, value, true);
  return bytes;
}

const header = (shape: string, type = "<f4", order = "False"): string =>
  `{'descr': '${type}', 'fortran_order': ${order}, 'shape': ${shape}, }\n`;

test("reads rows of float32 with their size", () => {
  const field = fieldFromNpy(npy(header("(2, 3)"), [0, 0.25, 0.5, 0.75, 1, 0.125]), "given");
  assert.deepEqual(
    { ...field, values: [...field.values] },
    { width: 3, height: 2, values: [0, 0.25, 0.5, 0.75, 1, 0.125] },
  );
});

test("reads a header that starts at any byte, and the format's version 2", () => {
  for (const padding of ["", " ", "  ", "   "])
    assert.equal(fieldFromNpy(npy(header("(1, 2)") + padding, [0, 1], 2), "given").values[1], 1);
});

test("spreads an estimate over 0 to 1", () => {
  assert.deepEqual([...fieldFromNpy(npy(header("(1, 3)"), [-2, 6, 2]), "estimate").values], [0, 1, 0.5]);
});

test("keeps the values of a given map, within 0 to 1", () => {
  assert.deepEqual(
    [...fieldFromNpy(npy(header("(1, 3)"), [0.25, 0.5, 1.5]), "given").values],
    [0.25, 0.5, 1],
  );
});

for (const [what, bytes, message] of [
  ["a file of another kind", new TextEncoder().encode("not an array at all").buffer, /start like an \.npy/],
  ["an empty file", new ArrayBuffer(0), /start like an \.npy/],
  ["a header cut off", npy(header("(1, 2)"), []).slice(0, 20), /within its header/],
  ["values cut off", npy(header("(1, 2)"), [1]), /promises/],
  ["more values than promised", npy(header("(1, 2)"), [1, 2, 3]), /promises/],
  ["another type", npy(header("(1, 2)", "<f8"), [1, 2]), /type <f8/],
  ["columns before rows", npy(header("(1, 2)", "<f4", "True"), [1, 2]), /columns before rows/],
  ["three dimensions", npy(header("(1, 2, 1)"), [1, 2]), /two-dimensional/],
  ["no pixels", npy(header("(0, 2)"), []), /two-dimensional/],
  ["more pixels than the server takes", npy(header("(20000, 20000)"), []), /two-dimensional/],
  ["values that are not finite", npy(header("(1, 2)"), [1, Number.NaN]), /NaN/],
] as const)
  test(`refuses ${what}`, () => {
    assert.throws(() => fieldFromNpy(bytes, "given"), { name: "RangeError", message });
  });

test("refuses an estimate that is the same everywhere", () => {
  assert.throws(() => fieldFromNpy(npy(header("(1, 2)"), [3, 3]), "estimate"), /same everywhere/);
});
