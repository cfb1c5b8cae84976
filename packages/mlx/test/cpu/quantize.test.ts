import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  array,
  astype,
  type Bits,
  concatenate,
  type MxArray,
  quantize,
  random,
  scope,
  slice,
  stack,
  sum,
  transpose,
  valueAndGrad,
} from "../../src/index.js";
import { onLinux } from "../support/fused.js";

/** Quantizes with MLX's own operation, which gradients use. */
function quantizedByMlx(w: MxArray, o: { groupSize: number; bits: Bits }): MxArray[] {
  const { values } = valueAndGrad((a) => [sum(a), ...Object.values(quantize(a, o))])(w);
  return values.slice(1);
}

describe("quantization on the CPU", onLinux, () => {
  it("equals MLX's to the bit", () => {
    const columns = 256;
    const row = (value: (i: number) => number): Float32Array =>
      Float32Array.from({ length: columns }, (_, i) => value(i));
    const [infinity, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
    const wave = (i: number): number => Math.sin(i * 12.9898) * 3;
    const edges = [
      row(() => 0),
      row((i) => (i % 2 ? -0 : 0)),
      row(() => 5),
      row(() => -5),
      row((i) => -1 - Math.abs(wave(i))),
      row((i) => 1 + Math.abs(wave(i))),
      row((i) => wave(i) * 1e-9),
      row((i) => wave(i) * 1e-30),
      row((i) => wave(i) * 1e4),
      row((i) => (i % 32 === 7 ? 1000 : wave(i))),
      row((i) => (i % 32 === 7 ? -1e-7 : 5e-8)),
      // Many values lie halfway between two integers.
      row((i) => (i % 32) / 2 - 7.5),
      row((i) => (i % 3) - 1),
      row((i) => (i % 128 === 40 ? infinity : wave(i))),
      row((i) => (i % 128 === 40 ? -infinity : wave(i))),
      row((i) => (i % 4 === 1 ? -infinity : i % 4 === 2 ? infinity : wave(i))),
      row(() => infinity),
      row(() => -infinity),
      row((i) => (i % 16 === 3 ? nan : wave(i))),
      row(() => nan),
    ];
    const edge = stack(edges.map((values) => array(values)));
    const normal = scope(() =>
      concatenate(
        [1, 0.02, 300].map((scale, i) => random.normal([500, columns], { key: random.key(i), scale })),
      ),
    );
    const bytesOf = (a: MxArray): Uint8Array => new Uint8Array(a.toTypedArray().buffer);
    // Neighbours that are not adjacent in memory.
    const turned = slice(transpose(normal), [null, [0, 1472]]);
    for (const [kind, values] of Object.entries({ edge, normal, turned }))
      for (const dtype of ["float32", "bfloat16", "float16"] as const)
        for (const groupSize of kind === "turned" ? [32] : [32, 64, 128])
          for (const bits of [2, 3, 4, 5, 6, 8] as const)
            scope(() => {
              const w = astype(values, dtype);
              const found = Object.values(quantize(w, { groupSize, bits })) as MxArray[];
              for (const [i, wanted] of quantizedByMlx(w, { groupSize, bits }).entries()) {
                const name = `${kind}, ${dtype}, ${bits} bits, groups of ${groupSize}, ${["integers", "scales", "biases"][i]}`;
                assert.deepEqual([found[i]!.dtype, found[i]!.shape], [wanted.dtype, wanted.shape], name);
                assert.deepEqual(bytesOf(found[i]!), bytesOf(wanted), name);
              }
            });
  });

  it("shows NaN only in the scale of its group", () => {
    const values = Float32Array.from({ length: 2 * 128 }, (_, i) => (i === 70 ? Number.NaN : Math.sin(i)));
    const w = array(values, { shape: [2, 128] });
    const { scales } = quantize(w, { bits: 4 });
    const finite = [...(scales.toTypedArray() as Float32Array)].map(Number.isFinite);
    assert.deepEqual(finite, [true, false, true, true]);
  });
});
