import assert from "node:assert/strict";
import { test } from "node:test";
import sharp, { type Sharp } from "sharp";
import { picture, useCanvas } from "../support/canvas-page.js";

const canvas = useCanvas();

/** A picture whose left third is red, the rest blue, in base64. */
async function redAndBlue(
  width: number,
  height: number,
  change = (image: Sharp) => image.png(),
): Promise<string> {
  const red = { width: Math.round(width / 3), height, channels: 3, background: "#ff0000" } as const;
  const image = sharp({ create: { width, height, channels: 3, background: "#0000ff" } }).composite([
    { input: { create: red }, left: 0, top: 0 },
  ]);
  return (await change(image).toBuffer()).toString("base64");
}

test("pictures are shown upright, as their EXIF data say", async () => {
  const page = await canvas.open();
  const turned = await redAndBlue(90, 60, (image) => image.withMetadata({ orientation: 6 }).jpeg());
  const size = await page.evaluate(async (file) => {
    const { width, height } = await window.studio.picture(file);
    return [width, height];
  }, turned);
  assert.deepEqual(size, [60, 90]);
});

test("large pictures are shown smaller, in their proportions", async () => {
  const page = await canvas.open();
  const size = await page.evaluate(
    async (file) => {
      const { width, height } = await window.studio.picture(file);
      return [width, height];
    },
    await redAndBlue(6000, 3000),
  );
  assert.deepEqual(size, [4096, 2048]);
});

test("what the browser cannot decode is an error", async () => {
  const page = await canvas.open();
  await assert.rejects(
    page.evaluate((file) => window.studio.picture(file), Buffer.from("no picture").toString("base64")),
    /could not be decoded/,
  );
});

test("photos and depth maps are told apart in the browser", async () => {
  const page = await canvas.open();
  for (const [name, kind] of [
    ["room.png", "photo"],
    ["coffee.jpg", "photo"],
    ["room_depth.png", "depth"],
    ["mountains_depth.png", "depth"],
  ] as const) {
    const found = await page.evaluate(
      (file) => window.studio.classify(file),
      await picture(`examples/images/${name}`),
    );
    assert.equal(found.kind, kind, name);
  }
});

test("a cropped photo is the middle of it, at most twice the target", async () => {
  const page = await canvas.open();
  const bytes = await page.evaluate(
    (file) => window.studio.framed(file, { width: 64, height: 64 }, "crop"),
    await redAndBlue(600, 300),
  );
  const { data, info } = await sharp(Uint8Array.from(bytes))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  assert.deepEqual([info.width, info.height], [128, 128]);
  // The red third ends at 200 of 600; the crop begins at 150, so that a sixth of it is red.
  const isRed = (x: number): boolean => data[3 * (64 * 128 + x)]! > 128;
  assert.ok(isRed(10) && isRed(18) && !isRed(24) && !isRed(120));
});

test("a padded photo continues its border", async () => {
  const page = await canvas.open();
  const bytes = await page.evaluate(
    (file) => window.studio.framed(file, { width: 64, height: 64 }, "pad"),
    await redAndBlue(60, 30),
  );
  const { data, info } = await sharp(Uint8Array.from(bytes))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  assert.deepEqual([info.width, info.height], [60, 60]);
  for (const y of [0, 30, 59]) {
    const at = (x: number): number[] => [...data.subarray(3 * (y * 60 + x), 3 * (y * 60 + x) + 3)];
    assert.deepEqual(
      [at(3), at(50)],
      [
        [255, 0, 0],
        [0, 0, 255],
      ],
      `row ${y}`,
    );
  }
});
