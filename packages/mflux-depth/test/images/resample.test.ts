import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { bilinear, interpolate, lanczos, resize } from "../../src/images/resample.js";
import type { Raster } from "../../src/images/types.js";

/*
 * golden/resample.json is made by Pillow from `pattern` below:
 *   i = numpy.arange(w * h); source = ((i * 7919 + i * i * 31) % 1021 / 4).astype(float32).reshape(h, w)
 *   numpy.asarray(Image.fromarray(source, mode="F").resize((W, H), Image.LANCZOS or Image.BILINEAR))
 */
const golden: {
  cases: { filter: string; from: [number, number]; to: [number, number]; values: number[] }[];
} = JSON.parse(readFileSync(new URL("../../../test/golden/resample.json", import.meta.url), "utf8"));

const pattern = (width: number, height: number): Raster => ({
  data: Float32Array.from({ length: width * height }, (_, i) => ((i * 7919 + i * i * 31) % 1021) / 4),
  width,
  height,
  channels: 1,
});

/** The channels of several pictures, interleaved. */
const interleave = (...planes: Raster[]): Raster => ({
  ...planes[0]!,
  channels: planes.length,
  data: Float32Array.from(
    { length: planes[0]!.data.length * planes.length },
    (_, i) => planes[i % planes.length]!.data[Math.floor(i / planes.length)]!,
  ),
});

const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  assert.equal(a.length, b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
};

test("Lanczos and bilinear are Pillow's on floats", () => {
  assert.equal(golden.cases.length, 16);
  for (const { filter, from, to, values } of golden.cases) {
    const out = resize(pattern(...from), ...to, filter === "lanczos" ? lanczos : bilinear);
    assert.deepEqual([out.width, out.height], to);
    // One unit in the last place of float32 at 256, should a C library's sine differ from V8's; here none.
    assert.ok(largest(out.data, values) <= 3.1e-5, `${filter} ${from} → ${to}: ${largest(out.data, values)}`);
  }
});

test("channels do not mix", () => {
  const [a, b] = [pattern(31, 17), { ...pattern(31, 17), data: pattern(31, 17).data.toReversed() }];
  for (const run of [
    (p: Raster) => resize(p, 8, 20, lanczos),
    (p: Raster) => resize(p, 40, 9, bilinear),
    (p: Raster) => interpolate(p, 13, 29),
  ])
    assert.deepEqual(run(interleave(a, b, a)), interleave(run(a), run(b), run(a)));
});

test("the same size is the same picture", () => {
  const p = pattern(16, 9);
  assert.equal(resize(p, 16, 9, lanczos), p);
  assert.equal(largest(interpolate(p, 16, 9).data, p.data), 0);
});

/** PyTorch's definition, plainly: sample at (i + ½)·n/m − ½, clamped to the picture. */
function sampled(source: Raster, width: number, height: number): number[] {
  const at = (i: number, from: number, to: number) =>
    Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
  const pixel = (x: number, y: number) =>
    source.data[Math.min(y, source.height - 1) * source.width + Math.min(x, source.width - 1)]!;
  const values: number[] = [];
  for (let j = 0; j < height; j++)
    for (let i = 0; i < width; i++) {
      const [x, y] = [at(i, source.width, width), at(j, source.height, height)];
      const [x0, y0] = [Math.floor(x), Math.floor(y)];
      const row = (yy: number) => pixel(x0, yy) + (x - x0) * (pixel(x0 + 1, yy) - pixel(x0, yy));
      values.push(row(y0) + (y - y0) * (row(y0 + 1) - row(y0)));
    }
  return values;
}

test("interpolate samples between the four nearest pixels", () => {
  for (const [from, to] of [
    [
      [7, 5],
      [16, 16],
    ],
    [
      [31, 17],
      [8, 8],
    ],
    [
      [64, 64],
      [16, 16],
    ],
    [
      [1, 1],
      [3, 2],
    ],
    [
      [9, 20],
      [23, 7],
    ],
  ] as const) {
    const source = pattern(from[0], from[1]);
    const out = interpolate(source, to[0], to[1]);
    assert.ok(largest(out.data, sampled(source, to[0], to[1])) < 5e-4, `${from} → ${to}`);
  }
});

test("a quarter is the mean of the two middle pixels each way", () => {
  const source = pattern(16, 16);
  const out = interpolate(source, 4, 4);
  const p = (x: number, y: number) => source.data[y * 16 + x]!;
  assert.ok(Math.abs(out.data[5]! - (p(5, 5) + p(6, 5) + p(5, 6) + p(6, 6)) / 4) < 1e-4);
});
