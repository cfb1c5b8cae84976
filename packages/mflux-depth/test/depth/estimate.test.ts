import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import sharp from "sharp";
import { DepthEstimate } from "../../src/depth/estimate.js";
import type { PredictionMeaning } from "../../src/depth/prediction.js";
import { ImageError, OptionError, OutputError } from "../../src/errors.js";
import { readDepthMap } from "../../src/images/decode.js";
import { bilinear, resize } from "../../src/images/resample.js";
import type { Raster } from "../../src/images/types.js";
import { drawn, largestDifference } from "../support/images.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-estimate-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const canonical: PredictionMeaning = { quantity: "inverse-depth", scale: "canonical" };
const photo = { source: "a photo", width: 24, height: 18 };
const nearness = drawn(40, 20, (x, y) => 1 + Math.hypot(x - 11, y - 7));

interface Camera {
  readonly fieldOfView?: number;
  readonly exifFocalLength?: number;
}

const estimateOf = (
  values: Raster,
  meaning: PredictionMeaning,
  { fieldOfView, exifFocalLength }: Camera = {},
  of = photo,
): DepthEstimate => new DepthEstimate(of, { ...values, ...meaning }, { fieldOfView, exifFocalLength });

describe("an estimate", () => {
  const estimate = estimateOf(nearness, canonical, { exifFocalLength: 30 });

  test("keeps the prediction with its meaning", () => {
    const { width, height, channels, quantity, scale } = estimate.prediction;
    assert.deepEqual([width, height, channels, quantity, scale], [40, 20, 1, "inverse-depth", "canonical"]);
  });

  test("tells the range of the prediction", () => {
    assert.deepEqual(estimate.range, { min: Math.min(...nearness.data), max: Math.max(...nearness.data) });
  });

  test("has data at the photo's size", () => {
    assert.deepEqual(estimate.data, resize(nearness, 24, 18, bilinear).data);
  });

  test("makes a map of the prediction in one resize", () => {
    const { min, max } = estimate.range;
    const scaled = { ...nearness, data: nearness.data.map((value) => (value - min) / (max - min)) };
    assert.ok(largestDifference(estimate.map(13, 9).data, resize(scaled, 13, 9, bilinear).data) < 1e-6);
    const atPhotoSize = { ...photo, channels: 1, data: estimate.map().data };
    const twice = resize(atPhotoSize, 13, 9, bilinear);
    assert.ok(largestDifference(estimate.map(13, 9).data, twice.data) > 1e-3, "twice is different");
  });
});

describe("a map of", () => {
  const distance = { ...nearness, data: nearness.data.map((inverse) => 1 / inverse) };
  const expected = estimateOf(nearness, canonical).map();

  for (const scale of ["metric", "canonical", "relative"] as const)
    test(`${scale} depth is that of its inverse: near is white`, () => {
      const map = estimateOf(distance, { quantity: "depth", scale }).map();
      assert.ok(largestDifference(map.data, expected.data) < 1e-5);
    });

  test("depth has its nearest point in white and its farthest in black", () => {
    const ramp = drawn(24, 18, (x) => 1 + x);
    const { data } = estimateOf(ramp, { quantity: "depth", scale: "relative" }).map();
    assert.deepEqual([data[0], data[23]], [1, 0]);
  });
});

describe("the focal length", () => {
  test("follows from the field of view", () => {
    const { focalLength, focalLengthFrom } = estimateOf(nearness, canonical, { fieldOfView: 90 });
    assert.ok(Math.abs(focalLength! - 12) < 1e-9);
    assert.equal(focalLengthFrom, "model");
  });

  test("comes from EXIF if present", () => {
    const { focalLength, focalLengthFrom } = estimateOf(nearness, canonical, {
      fieldOfView: 90,
      exifFocalLength: 30,
    });
    assert.deepEqual([focalLength, focalLengthFrom], [30, "exif"]);
  });

  test("is unknown without either, or for a field of view that no lens has", () => {
    for (const camera of [{}, { fieldOfView: 0 }, { fieldOfView: 180 }]) {
      const { focalLength, focalLengthFrom } = estimateOf(nearness, canonical, camera);
      assert.deepEqual([focalLength, focalLengthFrom], [undefined, undefined]);
    }
  });
});

describe("distances in metres", () => {
  test("scale with the focal length for canonical predictions", () => {
    const estimate = estimateOf(nearness, canonical, { exifFocalLength: 48 });
    for (const i of [0, 100, 300]) assert.ok(Math.abs(estimate.metres![i]! * estimate.data[i]! - 2) < 1e-6);
  });

  test("need no focal length for metric predictions", () => {
    const estimate = estimateOf(nearness, { quantity: "depth", scale: "metric" });
    assert.deepEqual(estimate.metres, estimate.data);
  });

  test("are limited to the range that the reference gives", () => {
    const extreme = drawn(2, 1, (x) => (x === 0 ? 0 : 1e9));
    const estimate = estimateOf(extreme, canonical, { fieldOfView: 90 }, { ...photo, width: 2, height: 1 });
    assert.deepEqual([...estimate.metres!], [Math.fround(1e4), Math.fround(1e-4)]);
  });
});

describe("encoding an estimate", () => {
  const estimate = estimateOf(nearness, canonical, { exifFocalLength: 30 });

  test("keeps the map to half a level of 16 bits", async () => {
    const bytes = await estimate.encode({ format: "png", bits: 16 });
    const info = await sharp(bytes).metadata();
    assert.deepEqual([info.depth, info.channels, info.width, info.height], ["ushort", 1, 24, 18]);
    const map = await readDepthMap(bytes);
    assert.ok(largestDifference(map.data, estimate.map().data) < 0.51 / 65535);
  });

  test("writes colours if asked", async () => {
    const file = await sharp(await estimate.encode({ format: "webp", colour: true })).metadata();
    assert.deepEqual([file.format, file.channels, file.width], ["webp", 3, 24]);
  });

  for (const metres of [false, true])
    test(`writes ${metres ? "metres" : "the prediction"} into an array`, async () => {
      const bytes = Buffer.from(await estimate.encode({ format: "npy", metres }));
      const start = 10 + bytes.readUInt16LE(8);
      const values = Float32Array.from({ length: 24 * 18 }, (_, i) => bytes.readFloatLE(start + 4 * i));
      assert.deepEqual(values, metres ? estimate.metres : estimate.data);
    });

  test("refuses options that the format does not have", () =>
    assert.rejects(estimate.encode({ format: "jpeg", bits: 16 }), OptionError));

  test("refuses metres when the focal length is unknown", () =>
    assert.rejects(
      estimateOf(nearness, canonical).encode({ format: "npy", metres: true }),
      (error) =>
        error instanceof ImageError &&
        /metres are unavailable: the photo has no focal length/.test(error.message),
    ));

  test("refuses metres of relative depth", () =>
    assert.rejects(
      estimateOf(nearness, { quantity: "depth", scale: "relative" }).encode({ format: "npy", metres: true }),
      /relative depth only/,
    ));
});

describe("saving an estimate", () => {
  const estimate = estimateOf(nearness, canonical);

  test("takes the format from the extension", async () => {
    const path = await estimate.save(join(folder, "array.npy"));
    assert.equal(readFileSync(path).toString("latin1", 1, 6), "NUMPY");
  });

  test("keeps an existing file if asked", async () => {
    const path = join(folder, "kept.png");
    await estimate.save(path);
    assert.equal(await estimate.save(path, { overwrite: false }), join(folder, "kept_1.png"));
  });

  test("reports a place that it cannot write to", () =>
    assert.rejects(estimate.save(join(folder, "none", "map.png")), OutputError));
});
