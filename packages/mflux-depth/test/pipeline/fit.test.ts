import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ImageError } from "../../src/errors.js";
import { readDepthMap } from "../../src/images/decode.js";
import { lanczos, resize } from "../../src/images/resample.js";
import type { RawImage } from "../../src/options/index.js";
import { autoSize } from "../../src/pipeline/auto-size.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import { largestDifference } from "../support/images.js";
import { at } from "../support/tensors.js";

const photo = at("../../examples/images/coffee.jpg");
const map = at("../../examples/images/room_depth.png");

/** The upper half of a map: twice as wide as high. */
async function wideMap(): Promise<RawImage> {
  const { data, width, height } = await readDepthMap(map);
  return { data: data.slice(0, (width * height) / 2), width, height: height / 2, channels: 1 };
}

const ramp = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 256);

describe("fit", () => {
  let flux: FluxDepth;
  before(async () => {
    flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
  });
  after(() => flux.dispose());

  const small = { prompt: "a room", width: 64, height: 64, steps: 1, seed: 1 };

  test("crop takes the middle of a given map", async () => {
    const depthImage = await wideMap();
    const { depthMap, metadata } = await flux.generate({ ...small, depthImage, fit: "crop" });
    const whole = resize(await readDepthMap(depthImage), 128, 64, lanczos);
    const middle = Float32Array.from({ length: 64 * 64 }, (_, i) => {
      const value = whole.data[128 * Math.floor(i / 64) + 32 + (i % 64)]!;
      return Math.min(Math.max(value, 0), 1);
    });
    assert.ok(largestDifference(depthMap.data, middle) < 1e-6);
    assert.equal(metadata.fit, "crop");
  });

  test("pad repeats the border of a given map", async () => {
    const { depthMap } = await flux.generate({ ...small, depthImage: await wideMap(), fit: "pad" });
    const row = (y: number): Float32Array => depthMap.data.slice(64 * y, 64 * (y + 1));
    for (const y of [0, 8, 15]) assert.deepEqual(row(y), row(16));
    for (const y of [48, 63]) assert.deepEqual(row(y), row(47));
    assert.notDeepEqual(row(30), row(16));
  });

  test("crop refuses a map of which hardly anything would remain", () => {
    const depthImage = { data: ramp(400 * 16), width: 400, height: 16, channels: 1 };
    return assert.rejects(
      flux.generate({ ...small, depthImage, fit: "crop" }),
      (error) => error instanceof ImageError && /400 × 16.*64 × 64.*another fit/.test(error.message),
    );
  });

  test("stretch stays the default", async () => {
    const depthImage = await wideMap();
    const stretched = await flux.generate({ ...small, depthImage, fit: "stretch" });
    const { depthMap } = await flux.generate({ ...small, depthImage });
    assert.deepEqual(depthMap.data, stretched.depthMap.data);
  });

  test("crop frames the estimate of a photo and the photo alike", async () => {
    const estimate = (await flux.estimateDepth(photo)).map(96, 64);
    const { depthMap, image } = await flux.generate({
      ...small,
      image: photo,
      imageStrength: 1,
      fit: "crop",
    });
    const middle = Float32Array.from(
      { length: 64 * 64 },
      (_, i) => estimate.data[96 * Math.floor(i / 64) + 16 + (i % 64)]!,
    );
    assert.ok(largestDifference(depthMap.data, middle) < 1e-6);
    const stretched = await flux.generate({ ...small, image: photo, imageStrength: 1 });
    assert.notDeepEqual(image.data, stretched.image.data);
  });

  test("the size auto has the proportions of the photo", async () => {
    const { image } = await flux.generate({ ...small, image: photo, size: "auto" });
    assert.deepEqual([image.width, image.height], [80, 48]);
  });

  test("the size auto has the proportions of the map without a photo", async () => {
    const { image } = await flux.generate({ ...small, depthImage: await wideMap(), size: "auto" });
    assert.deepEqual([image.width, image.height], [96, 48]);
  });

  test("the size auto says that pixels make no image", () => {
    const depthImage = { data: ramp(64), width: 0, height: 64, channels: 1 };
    return assert.rejects(
      flux.generate({ ...small, depthImage, size: "auto" }),
      (error) => error instanceof ImageError && /is 0 × 64 pixels/.test(error.message),
    );
  });

  test("the size auto says that the image is missing", () =>
    assert.rejects(flux.generate({ ...small, depthImage: "missing.png", size: "auto" }), ImageError));
});

describe("autoSize", () => {
  const megapixel = { width: 1024, height: 1024 };

  test("keeps the number of pixels, in multiples of 16", () => {
    assert.deepEqual(autoSize({ width: 6000, height: 4000 }, megapixel), { width: 1248, height: 832 });
    assert.deepEqual(autoSize({ width: 300, height: 300 }, megapixel), megapixel);
  });

  test("stays within the limits of width and height", () =>
    assert.deepEqual(autoSize({ width: 20_000, height: 20 }, megapixel), { width: 4096, height: 32 }));
});
