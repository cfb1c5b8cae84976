import assert from "node:assert/strict";
import { describe, test } from "node:test";
import sharp from "sharp";
import { exifFocalLength, focalLengthFromFieldOfView } from "../../src/depth/focal-length.js";
import { readPhoto } from "../../src/images/decode.js";
import type { DecodedImage } from "../../src/images/types.js";
import { type ExifTags, exifBlock, exifTag } from "../support/exif.js";
import { drawn } from "../support/images.js";
import { at } from "../support/tensors.js";

const photo = (exif?: Uint8Array): DecodedImage => ({
  ...drawn(640, 480, () => 0),
  original: { width: 640, height: 480 },
  source: "a photo",
  sha256: "",
  warnings: [],
  ...(exif && { exif }),
});
const focalLength = (tags: ExifTags): number | undefined => exifFocalLength(photo(exifBlock(tags)));
const filmDiagonal = Math.hypot(36, 24);

describe("exifFocalLength", () => {
  test("converts the equivalent on 35 mm film, and prefers it to the lens", () => {
    const found = focalLength({ [exifTag.onFilm]: 28, [exifTag.lens]: [5, 1] });
    assert.ok(Math.abs(found! - (28 * 800) / filmDiagonal) < 1e-9);
  });

  test("reads a file as cameras write it", async () => {
    const file = sharp(at("../../examples/images/cube.png"))
      .withExif({ IFD2: { FocalLengthIn35mmFilm: "28" } })
      .jpeg();
    const found = exifFocalLength(await readPhoto(await file.toBuffer()));
    assert.ok(Math.abs(found! - (28 * Math.hypot(256, 256)) / filmDiagonal) < 1e-9);
  });

  // The photo was made smaller since: 640 pixels wide now, 4096 when it was taken.
  const sensor = {
    [exifTag.lens]: [50, 1],
    [exifTag.density]: [4000, 2],
    [exifTag.width]: 4096,
    [exifTag.height]: 3072,
  } as const;
  const pixels = (50 * 2000 * 640) / 4096;

  test("uses the lens and the density of the sensor, in centimetres", () => {
    assert.ok(Math.abs(focalLength({ ...sensor, [exifTag.unit]: 3 })! - pixels / 10) < 1e-9);
  });

  test("uses the lens and the density of the sensor, in inches", () => {
    assert.ok(Math.abs(focalLength({ ...sensor, [exifTag.unit]: 2 })! - pixels / 25.4) < 1e-9);
  });

  test("allows for a photo that was turned since", () => {
    const turned = { ...sensor, [exifTag.unit]: 3, [exifTag.width]: 3072, [exifTag.height]: 4096 };
    assert.ok(Math.abs(focalLength(turned)! - pixels / 10) < 1e-9);
  });

  for (const [what, exif] of [
    ["a lens alone", exifBlock({ [exifTag.lens]: [50, 1] })],
    ["a zero", exifBlock({ [exifTag.onFilm]: 0 })],
    ["no EXIF", undefined],
    ["a damaged block", new Uint8Array([1, 2])],
  ] as const)
    test(`says nothing for ${what}`, () => assert.equal(exifFocalLength(photo(exif)), undefined));
});

describe("focalLengthFromFieldOfView", () => {
  test("is half the width at 90 degrees", () => {
    assert.ok(Math.abs(focalLengthFromFieldOfView(90, 640)! - 320) < 1e-9);
  });

  for (const degrees of [0, -10, 180, Number.NaN])
    test(`says nothing for ${degrees} degrees`, () =>
      assert.equal(focalLengthFromFieldOfView(degrees, 640), undefined));
});
