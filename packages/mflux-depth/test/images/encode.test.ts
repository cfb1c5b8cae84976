import assert from "node:assert/strict";
import { describe, test } from "node:test";
import sharp from "sharp";
import { OptionError } from "../../src/errors.js";
import { readPhoto } from "../../src/images/decode.js";
import { encodeImage, formatOf, toLevels } from "../../src/images/encode.js";
import { noiseBytes } from "../support/images.js";

const [width, height] = [24, 20];
const rgb = noiseBytes(width, height, 3);

describe("formatOf", () => {
  for (const [name, format] of [
    ["a.png", "png"],
    ["a.JPG", "jpeg"],
    ["a.jpeg", "jpeg"],
    ["a.webp", "webp"],
  ] as const)
    test(`takes ${name} as ${format}`, () => assert.equal(formatOf(name), format));

  for (const name of ["a.bmp", "a"])
    test(`refuses ${name}`, () =>
      assert.throws(
        () => formatOf(name),
        (error) => error instanceof OptionError && /must end in \.png/.test(error.message),
      ));
});

describe("encodeImage", () => {
  for (const format of ["png", "jpeg", "webp"] as const)
    test(`writes ${format}`, async () => {
      const bytes = await encodeImage({ data: rgb, width, height, channels: 3 }, format);
      const info = await sharp(bytes).metadata();
      assert.deepEqual([info.format, info.width, info.height, info.channels], [format, width, height, 3]);
    });

  test("keeps every level in PNG", async () => {
    const bytes = await encodeImage({ data: rgb, width, height, channels: 3 }, "png");
    assert.deepEqual(toLevels(await readPhoto(bytes), 8), rgb);
  });

  test("writes one channel as grey, and 16 bits as 16 bits", async () => {
    const data = Uint16Array.from({ length: width * height }, (_, i) => i * 137);
    const info = await sharp(await encodeImage({ data, width, height, channels: 1 }, "png")).metadata();
    assert.deepEqual([info.channels, info.depth], [1, "ushort"]);
  });

  test("writes a comment into EXIF", async () => {
    const bytes = await encodeImage({ data: rgb, width, height, channels: 3 }, "png", "what it is");
    const { exif } = await sharp(bytes).metadata();
    assert.ok(exif?.includes("what it is"));
  });
});

describe("toLevels", () => {
  for (const [bits, largest] of [
    [8, 255],
    [16, 65535],
  ] as const)
    test(`gives back each of the ${largest + 1} levels of ${bits} bits`, () => {
      const data = Float32Array.from({ length: largest + 1 }, (_, level) => level / largest);
      const levels = toLevels({ data, width: largest + 1, height: 1, channels: 1 }, bits);
      assert.ok(levels.every((level, i) => level === i));
    });
});
