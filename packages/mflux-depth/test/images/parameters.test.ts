import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { encodeImage } from "../../src/images/encode.js";
import { changeParameters, parametersIn } from "../../src/images/parameters.js";

const image = {
  data: Uint8Array.from({ length: 5 * 4 * 3 }, (_, i) => 4 * i),
  width: 5,
  height: 4,
  channels: 3,
};

test("changing parameters keeps the pixels, the other parameters and the name of the program", async () => {
  const before = await encodeImage(image, "png", '{"prompt":"na\\u00efve","seed":7}');
  const after = await changeParameters(before, (parameters) => ({ ...parameters, seed: 8, more: [1] }));
  assert.deepEqual(await parametersIn(after), { prompt: "naïve", seed: 8, more: [1] });
  assert.deepEqual(await sharp(after).raw().toBuffer(), Buffer.from(image.data));
  assert.match((await sharp(after).metadata()).exif!.toString("latin1"), /mflux-depth/);
});

test("an image without parameters gets them", async () => {
  const plain = await encodeImage(image, "png");
  assert.deepEqual(await parametersIn(await changeParameters(plain, () => ({ seed: 1 }))), { seed: 1 });
});
