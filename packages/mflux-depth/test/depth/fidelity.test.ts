import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { compareDepth, type FidelityScores } from "../../src/depth/fidelity.js";
import { readDepthMap } from "../../src/images/decode.js";
import { bilinear, resize } from "../../src/images/resample.js";
import type { Raster } from "../../src/images/types.js";
import { drawn } from "../support/images.js";
import { at } from "../support/tensors.js";

interface GoldenCase {
  readonly map: string;
  readonly estimate: string;
  readonly size: readonly [width: number, height: number];
  readonly power: number;
  readonly factor: number;
  readonly offset: number;
  readonly scores: FidelityScores;
}

const { cases }: { cases: GoldenCase[] } = JSON.parse(readFileSync(at("test/golden/fidelity.json"), "utf8"));

const read = (name: string): Promise<Raster> => readDepthMap(at(`../../examples/images/${name}_depth.png`));

async function estimateOf({ estimate, size, power, factor, offset }: GoldenCase): Promise<Raster> {
  const resized = resize(await read(estimate), ...size, bilinear);
  return { ...resized, data: resized.data.map((value) => factor * value ** power + offset) };
}

describe("compareDepth", () => {
  for (const golden of cases) {
    const { map, estimate, size, power, factor, scores } = golden;
    test(`scores ${map} against ${factor} × ${estimate}^${power} at ${size.join("×")} as numpy does`, async () => {
      const expected = await read(map);
      const found = compareDepth(expected, await estimateOf(golden), expected);
      assert.ok(Math.abs(found.rmse - scores.rmse) < 1e-3, `RMSE ${found.rmse} ${scores.rmse}`);
      assert.ok(Math.abs(found.correlation - scores.correlation) < 1e-5, `${found.correlation}`);
      assert.ok(Math.abs(found.absRel - scores.absRel) < 1e-5, `${found.absRel} ${scores.absRel}`);
      // A few slopes lie so near the limit that rounding decides.
      assert.ok(Math.abs(found.edgeF1 - scores.edgeF1) < 1e-3, `${found.edgeF1} ${scores.edgeF1}`);
    });
  }

  const ramp = drawn(64, 48, (x, y) => x / 64 + y / 480);
  const image = { width: 64, height: 48 };

  test("is perfect for the map itself at another scale, shift and size", () => {
    const other = resize({ ...ramp, data: ramp.data.map((value) => 7 * value - 3) }, 128, 96, bilinear);
    const { rmse, correlation, absRel, edgeF1 } = compareDepth(ramp, other, image);
    assert.ok(rmse < 1 && absRel < 0.02 && correlation > 0.9999 && edgeF1 === 1);
  });

  test("does not let near and far change places", () => {
    const inverted = { ...ramp, data: ramp.data.map((value) => -value) };
    const { correlation, rmse, fitted } = compareDepth(ramp, inverted, image);
    assert.ok(correlation < -0.999 && rmse > 50);
    assert.ok(fitted.data.every((value) => Math.abs(value - fitted.data[0]!) < 1e-6));
  });

  test("gives an image without depth no correlation", () => {
    const flat = drawn(8, 8, () => 3);
    assert.equal(compareDepth(ramp, flat, image).correlation, 0);
  });

  test("compares at the proportions of the image", () => {
    const { expected, fitted } = compareDepth(
      ramp,
      drawn(8, 8, (x) => x),
      { width: 1000, height: 400 },
    );
    assert.deepEqual([expected.width, expected.height], [256, 102]);
    assert.deepEqual([fitted.width, fitted.height], [256, 102]);
  });
});
