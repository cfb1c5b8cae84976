import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { bicubic, bilinear, type Filter, interpolate, lanczos, resize } from "../../src/images/resample.js";
import type { Raster } from "../../src/images/types.js";
import { largestDifference } from "../support/images.js";

/*
 * golden/resample.json is made by Pillow from `pattern` below:
 *   i = numpy.arange(w * h); source = ((i * 7919 + i * i * 31) % 1021 / 4).astype(float32).reshape(h, w)
 *   numpy.asarray(Image.fromarray(source, mode="F").resize((W, H), Image.LANCZOS, Image.BILINEAR or Image.BICUBIC))
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

/** Interleaves the channels of several images. */
const interleave = (...planes: Raster[]): Raster => ({
  ...planes[0]!,
  channels: planes.length,
  data: Float32Array.from(
    { length: planes[0]!.data.length * planes.length },
    (_, i) => planes[i % planes.length]!.data[Math.floor(i / planes.length)]!,
  ),
});

const filters: Readonly<Record<string, Filter>> = { lanczos, bilinear, bicubic };

describe("resize", () => {
  test("covers all golden cases", () => assert.equal(golden.cases.length, 24));

  for (const { filter, from, to, values } of golden.cases)
    test(`equals Pillow's ${filter} on floats from ${from.join("×")} to ${to.join("×")}`, () => {
      const out = resize(pattern(...from), ...to, filters[filter]!);
      assert.deepEqual([out.width, out.height], to);
      // One unit in the last place of float32 at 256, in case a C library's sine differs from V8's; here none does.
      const difference = largestDifference(out.data, values);
      assert.ok(difference <= 3.1e-5, `${difference}`);
    });

  test("returns an image that has the size already", () => {
    const image = pattern(16, 9);
    assert.equal(resize(image, 16, 9, lanczos), image);
  });
});

describe("channels do not mix", () => {
  const [a, b] = [pattern(31, 17), { ...pattern(31, 17), data: pattern(31, 17).data.toReversed() }];
  for (const [name, resized] of [
    ["with Lanczos", (image: Raster) => resize(image, 8, 20, lanczos)],
    ["with the bilinear filter", (image: Raster) => resize(image, 40, 9, bilinear)],
    ["when interpolated", (image: Raster) => interpolate(image, 13, 29)],
  ] as const)
    test(name, () =>
      assert.deepEqual(resized(interleave(a, b, a)), interleave(resized(a), resized(b), resized(a))),
    );
});

/** PyTorch's definition in plain loops: sample at (i + ½)·n/m − ½, clamped to the image. */
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

describe("interpolate", () => {
  const sizes: [from: [number, number], to: [number, number]][] = [
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
  ];
  for (const [from, to] of sizes)
    test(`samples between the four nearest pixels from ${from.join("×")} to ${to.join("×")}`, () => {
      const source = pattern(...from);
      assert.ok(largestDifference(interpolate(source, ...to).data, sampled(source, ...to)) < 5e-4);
    });

  test("gives the same values for the same size", () => {
    const image = pattern(16, 9);
    assert.deepEqual(interpolate(image, 16, 9).data, image.data);
  });

  test("takes the mean of the two middle pixels each way for a quarter", () => {
    const source = pattern(16, 16);
    const out = interpolate(source, 4, 4);
    const p = (x: number, y: number) => source.data[y * 16 + x]!;
    assert.ok(Math.abs(out.data[5]! - (p(5, 5) + p(6, 5) + p(5, 6) + p(6, 6)) / 4) < 1e-4);
  });
});
