import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { loadSafetensors } from "@mflux-depth/mlx";
import { ImageError, OptionError } from "../../src/errors.js";
import { readPhoto } from "../../src/images/decode.js";
import type { FluxDepth, RawImage } from "../../src/index.js";
import { blockMeans } from "../../src/pipeline/masking.js";
import { drawn } from "../support/images.js";
import { at, relativeError } from "../support/tensors.js";
import { collect, exampleImage, inMemory, loadTinyWorld } from "../support/tiny-world.js";

const photo = exampleImage("sculpture.png");
const depthImage = exampleImage("sculpture_depth.png");

/** A mask of the photo's size: white at the right of a column, grey in a band left of it. */
const maskFrom = (column: number, grey = 0): RawImage => ({
  data: Uint8Array.from({ length: 256 * 256 }, (_, i) =>
    i % 256 >= column ? 255 : i % 256 >= column - grey ? 128 : 0,
  ),
  width: 256,
  height: 256,
  channels: 1,
});

const request = {
  prompt: "a red cube, on grass",
  image: photo,
  depthImage,
  width: 256,
  height: 256,
  steps: 2,
  seed: 3,
  imageStrength: 0,
};

describe("a mask", () => {
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld();
  });

  test("changes the photo as diffusers does", async () => {
    const { arrays } = loadSafetensors(at("test/golden/inpaint.safetensors"));
    const tensor = (name: string): Float32Array => arrays.get(name)!.toTypedArray() as Float32Array;
    const { steps, result } = await collect(
      flux.steps({
        prompt: "a teal sculpture, studio lighting",
        image: photo,
        depthImage,
        maskImage: { data: tensor("mask").slice(), width: 256, height: 256, channels: 1 },
        imageStrength: 0.2,
        width: 256,
        height: 256,
        steps: 10,
        latents: tensor("noise").slice(),
        withLatents: true,
      }),
    );
    assert.equal(steps.length, 8);
    assert.ok(relativeError(steps[0]!.latents!.data, tensor("first_step")) <= 2e-5);
    assert.ok(relativeError(result.latents.data, tensor("latents")) <= 3e-4);
    for (const one of arrays.values()) one.dispose();
  });

  test("leaves the photo's own pixels where it is black, and changes those where it is white", async () => {
    const { image, metadata } = await flux.generate({ ...request, maskImage: maskFrom(128) });
    const original = await readPhoto(photo);
    let [kept, changed] = [0, 0];
    for (const [i, level] of image.data.entries()) {
      const same = level === Math.round(255 * original.data[i]!);
      if (Math.floor(i / 3) % 256 < 128) kept += same ? 0 : 1;
      else changed += same ? 0 : 1;
    }
    assert.equal(kept, 0);
    assert.ok(changed > 0.9 * 3 * 128 * 256, `${changed}`);
    assert.equal(metadata.mask_image_path, null);
    assert.match(metadata.mask_image_sha256!, /^[0-9a-f]{64}$/);
  });

  test("mixes the photo and the change where it is grey", async () => {
    const soft = await flux.generate({ ...request, maskImage: maskFrom(128, 32) });
    const original = await readPhoto(photo);
    const distance = (from: number, to: number): number => {
      let sum = 0;
      for (const [i, level] of soft.image.data.entries()) {
        const x = Math.floor(i / 3) % 256;
        if (x >= from && x < to) sum += Math.abs(level - 255 * original.data[i]!);
      }
      return sum / (to - from);
    };
    assert.ok(distance(0, 96) < 0.5 * 3 * 256);
    assert.ok(distance(96, 128) > 2 * distance(0, 96) && distance(96, 128) < distance(128, 160));
  });

  test("is cut like the photo", async () => {
    const { image } = await flux.generate({ ...request, maskImage: maskFrom(128), width: 128, fit: "crop" });
    const original = await readPhoto(photo);
    for (let y = 0; y < 256; y += 17)
      for (const x of [0, 31, 63]) {
        const expected = original.data[3 * (256 * y + x + 64)]!;
        assert.equal(image.data[3 * (128 * y + x)], Math.round(255 * expected));
      }
  });

  test("works with only a photo, whose depth is estimated", async () => {
    const { depthImage: _, ...alone } = request;
    const { metadata } = await flux.generate({ ...alone, maskImage: maskFrom(128) });
    assert.equal(metadata.depth_source, "photo");
  });

  test("holds nothing afterwards", async () => {
    await flux.generate({ ...request, maskImage: maskFrom(128), steps: 1 });
    const baseline = inMemory();
    await flux.generate({ ...request, maskImage: maskFrom(64), steps: 1 });
    assert.deepEqual(inMemory(), baseline);
  });

  const black = { ...maskFrom(256) };
  const refused: [string, object, RegExp][] = [
    [
      "a mask of another size",
      { maskImage: { ...maskFrom(8), data: new Uint8Array(32 * 32).fill(255), width: 32, height: 32 } },
      /the mask: is 32 × 32 pixels, but the photo that it masks is 256 × 256/,
    ],
    ["an empty mask", { maskImage: black }, /the mask: is black everywhere/],
    ["a mask that is no image", { maskImage: at("package.json") }, /package\.json/],
  ];
  for (const [what, change, message] of refused)
    test(`refuses ${what}`, () =>
      assert.rejects(
        flux.generate({ ...request, ...change }),
        (error) => error instanceof ImageError && message.test(error.message),
      ));

  test("refuses a mask without a photo", () =>
    assert.rejects(
      flux.generate({ ...request, image: null, maskImage: maskFrom(8) }),
      (error) => error instanceof OptionError && /A mask needs a photo/.test(error.message),
    ));
});

describe("blockMeans", () => {
  test("takes the mean of each block", () => {
    const image = drawn(6, 4, (x, y) => 10 * y + x);
    assert.deepEqual([...blockMeans(image, 3, 2)], [5.5, 7.5, 9.5, 25.5, 27.5, 29.5]);
  });
});
