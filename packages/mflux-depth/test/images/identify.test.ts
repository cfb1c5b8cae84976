import assert from "node:assert/strict";
import { describe, test } from "node:test";
import sharp from "sharp";
import { ImageError } from "../../src/errors.js";
import { checkDecodable } from "../../src/images/decode.js";
import { encodeImage } from "../../src/images/encode.js";
import { identifyImage } from "../../src/images/identify.js";
import { decodeMap, encodeMap } from "../../src/images/map.js";
import { parametersIn } from "../../src/images/parameters.js";
import { reencode } from "../../src/images/reencode.js";
import { noiseBytes } from "../support/images.js";

const [width, height] = [24, 20];
const picture = sharp(noiseBytes(width, height, 3), { raw: { width, height, channels: 3 } });

describe("identifyImage", () => {
  for (const format of ["png", "jpeg", "webp", "tiff", "avif", "gif"] as const)
    test(`knows ${format} by its content`, async () => {
      const bytes = await picture.clone().toFormat(format).toBuffer();
      assert.deepEqual(await identifyImage(bytes), { mime: `image/${format}`, width, height });
    });

  test("gives the size of an upright picture", async () => {
    const bytes = await picture.clone().jpeg().withMetadata({ orientation: 6 }).toBuffer();
    assert.deepEqual(await identifyImage(bytes), { mime: "image/jpeg", width: height, height: width });
  });

  for (const [what, bytes, message] of [
    ["HEIC, with advice", Buffer.from("\0\0\0\x18ftypheic\0\0\0\0heicmif1"), /HEIC.*save it as JPEG/],
    ["HEIC under a general brand", Buffer.from("\0\0\0\x18ftypmif1\0\0\0\0mif1heic"), /HEIC/],
    ["HEIC under its second brand", Buffer.from("\0\0\0\x1cftypmif1\0\0\0\0miafheicmif1"), /HEIC/],
    ["SVG", Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"), /drawing/],
    ["HTML", Buffer.from("<!doctype html><title>x</title>"), /not an image/],
  ] as const)
    test(`refuses ${what}`, async () =>
      assert.rejects(
        identifyImage(bytes),
        (error) => error instanceof ImageError && message.test(error.message),
      ));
});

describe("checkDecodable", () => {
  test("decodes large pictures in another process, which ends with the signal", async () => {
    const large = await sharp({ create: { width: 6000, height: 6000, channels: 3, background: "red" } })
      .png({ compressionLevel: 1 })
      .toBuffer();
    const controller = new AbortController();
    const checked = assert.rejects(checkDecodable(large, { signal: controller.signal }), /enough/);
    controller.abort(new Error("enough"));
    await checked;
    await checkDecodable(large);
  });

  test("refuses a picture whose end is missing", async () => {
    const bytes = await picture.clone().png().toBuffer();
    await assert.rejects(checkDecodable(bytes.subarray(0, bytes.length - 200)), ImageError);
  });

  test("accepts a whole one", async () => checkDecodable(await picture.clone().png().toBuffer()));
});

describe("reencode", () => {
  test("changes format and width, and keeps the proportions", async () => {
    const small = await reencode(await picture.clone().png().toBuffer(), "webp", { width: 12 });
    const { format, width: w, height: h } = await sharp(small).metadata();
    assert.deepEqual([format, w, h], ["webp", 12, 10]);
  });

  test("turns a picture upright", async () => {
    const turned = await picture.clone().jpeg().withMetadata({ orientation: 6 }).toBuffer();
    const { width: w, height: h, orientation } = await sharp(await reencode(turned, "jpeg")).metadata();
    assert.deepEqual([w, h, orientation ?? 1], [height, width, 1]);
  });

  test("puts transparent parts on white where the format has no transparency", async () => {
    const clear = await sharp({
      create: { width, height, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
    })
      .png()
      .toBuffer();
    const jpeg = await reencode(clear, "jpeg");
    assert.deepEqual([...(await sharp(jpeg).raw().toBuffer()).subarray(0, 3)], [255, 255, 255]);
  });

  test("never enlarges", async () => {
    const same = await reencode(await picture.clone().png().toBuffer(), "png", { width: 1000 });
    assert.equal((await sharp(same).metadata()).width, width);
  });
});

describe("parameters", () => {
  const image = { data: noiseBytes(width, height, 3), width, height, channels: 3 };
  const withComment = (comment: string) => encodeImage(image, "png", comment);

  for (const format of ["png", "jpeg", "webp"] as const)
    test(`survive another encoding as ${format}`, async () => {
      const original = await withComment(JSON.stringify({ prompt: "a cube", seed: 7 }));
      const converted = await reencode(original, format);
      assert.equal((await identifyImage(converted)).mime, `image/${format}`);
      assert.deepEqual(await parametersIn(converted), { prompt: "a cube", seed: 7 });
    });

  test("are left out of thumbnails", async () => {
    const thumbnail = await reencode(await withComment('{"seed":7}'), "webp", { width: 12 });
    assert.equal(await parametersIn(thumbnail), undefined);
  });

  test("of other pictures are undefined", async () => {
    assert.equal(await parametersIn(await picture.clone().jpeg().toBuffer()), undefined);
  });

  test("that are nested too deeply are ignored", async () => {
    const comment = `{"prompt": ${"[".repeat(500)}${"]".repeat(500)}}`;
    assert.equal(await parametersIn(await withComment(comment)), undefined);
  });
});

describe("encodeMap", () => {
  const map = { data: Float32Array.from({ length: 320 }, (_, i) => i / 319), width: 20, height: 16 };

  test("keeps 16 bits in png16", async () => {
    const { data } = await decodeMap(await encodeMap(map, "png16"));
    for (const [i, value] of data.entries()) assert.ok(Math.abs(value - map.data[i]!) <= 0.5 / 65535 + 1e-7);
  });

  test("rounds to 8 bits in png", async () => {
    const { data } = await decodeMap(await encodeMap(map, "png"));
    for (const [i, value] of data.entries()) assert.ok(Math.abs(value - map.data[i]!) <= 0.5 / 255 + 1e-7);
  });
});
