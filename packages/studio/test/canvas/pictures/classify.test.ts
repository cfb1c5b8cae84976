import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp, { type Sharp } from "sharp";
import { kindOf, type PictureKind } from "../../../src/canvas/pictures/classify.js";
import { random } from "../support/fields.js";

const images = fileURLToPath(new URL("../../../../../../examples/images/", import.meta.url));

/** Judges a file as the page does, after `change`. */
async function judge(name: string, change: (image: Sharp) => Sharp = (image) => image): Promise<PictureKind> {
  const file = await change(sharp(await readFile(images + name))).toBuffer();
  const { data, info } = await sharp(file)
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return kindOf({ data, width: info.width, height: info.height }, file.subarray(0, 32));
}

for (const name of ["cube", "mountains", "portrait", "room", "sculpture", "shapes"])
  test(`takes ${name}_depth.png for a depth map`, async () => {
    const { kind, confidence } = await judge(`${name}_depth.png`);
    assert.equal(kind, "depth");
    assert.ok(confidence > 0.8, `${confidence}`);
  });

for (const name of [
  ...[
    "astronaut.jpg",
    "chelsea.jpg",
    "coffee.jpg",
    "mountains.png",
    "portrait.png",
    "room.png",
    "shapes.png",
  ],
])
  test(`takes ${name} for a photo`, async () => {
    const { kind, confidence } = await judge(name);
    assert.equal(kind, "photo");
    assert.ok(confidence > 0.9, `${confidence}`);
  });

for (const name of ["astronaut.jpg", "chelsea.jpg", "coffee.jpg"])
  test(`takes ${name} in black and white for a photo`, async () => {
    assert.equal((await judge(name, (image) => image.grayscale())).kind, "photo");
  });

test("takes a map saved as JPEG for a depth map", async () => {
  assert.equal((await judge("room_depth.png", (image) => image.jpeg({ quality: 80 }))).kind, "depth");
});

test("takes a grey PNG of 16 bits for a depth map, whatever its texture", async () => {
  const next = random(1);
  const noise = Uint16Array.from({ length: 64 * 64 }, () => next() * 65535);
  const file = await sharp(noise, { raw: { width: 64, height: 64, channels: 1 } })
    .toColourspace("grey16")
    .png()
    .toBuffer();
  const data = Uint8Array.from({ length: 64 * 64 * 4 }, () => next() * 255);
  assert.equal(kindOf({ data, width: 64, height: 64 }, file.subarray(0, 32)).kind, "depth");
});
