import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { ImageError } from "../../src/errors.js";
import { inspectImage, readDepthMap, readMask, readPhoto } from "../../src/images/decode.js";
import { encodeImage, toLevels } from "../../src/images/encode.js";
import { endedEarly, jpegClaiming, tiffCompression, tiffOf } from "../support/encoded-images.js";
import { noiseBytes } from "../support/images.js";
import { makePipe, withoutPipes } from "../support/pipes.js";
import { at } from "../support/tensors.js";

const example = (name: string): string => at(`../../examples/images/${name}`);

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-decode-"));
after(() => rmSync(folder, { recursive: true, force: true }));
/** A file in the test's folder. */
const file = (name: string): string => join(folder, name);

const [w, h] = [24, 20];
const rgb = noiseBytes(w, h, 3);
const grey = noiseBytes(w, h, 1);
const raw = (data: Uint8Array, channels: 1 | 2 | 3 | 4) =>
  sharp(data, { raw: { width: w, height: h, channels } });

describe("readPhoto", () => {
  const lossless: [string, () => Promise<Buffer>][] = [
    ["PNG", () => raw(rgb, 3).png().toBuffer()],
    ["lossless WebP", () => raw(rgb, 3).webp({ lossless: true }).toBuffer()],
    ["TIFF", () => raw(rgb, 3).tiff({ compression: "lzw" }).toBuffer()],
  ];
  for (const [format, encode] of lossless)
    test(`keeps every level of a ${format} file`, async () => {
      const photo = await readPhoto(await encode());
      assert.deepEqual([photo.width, photo.height, photo.channels], [w, h, 3]);
      assert.deepEqual(toLevels(photo, 8), rgb);
    });

  test("repeats the channel of a grey file", async () => {
    const photo = await readPhoto(await raw(grey, 1).toColourspace("b-w").png().toBuffer());
    assert.equal(photo.channels, 3);
    assert.deepEqual(
      toLevels(photo, 8),
      rgb.map((_, i) => grey[Math.floor(i / 3)]!),
    );
  });

  const bands = Uint8Array.from(
    { length: w * h * 3 },
    (_, i) => ((i / 3) % w < w / 2 ? [180, 120, 90] : [110, 150, 130])[i % 3]!,
  );
  const lossy: [string, () => Promise<Buffer>, number][] = [
    ["palette PNG", () => raw(bands, 3).png({ palette: true, quality: 100 }).toBuffer(), 8],
    ["GIF", () => raw(bands, 3).gif().toBuffer(), 8],
    ["AVIF", () => raw(bands, 3).avif({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer(), 8],
    [
      "CMYK JPEG",
      () => raw(bands, 3).toColourspace("cmyk").jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toBuffer(),
      // A press has other colours than a screen; inverted ones would be farther away.
      25,
    ],
  ];
  for (const [format, encode, limit] of lossy)
    test(`reads the colours of a ${format} file`, async () => {
      const photo = await readPhoto(await encode());
      assert.equal(photo.channels, 3);
      for (const x of [3, w - 4])
        for (let c = 0; c < 3; c++) {
          const i = (5 * w + x) * 3 + c;
          const level = photo.data[i]! * 255;
          assert.ok(Math.abs(level - bands[i]!) <= limit, `${level} for ${bands[i]}`);
        }
    });

  test("applies the EXIF orientation", async () => {
    // Orientation 6: the stored image is to be turned a quarter clockwise.
    const photo = await readPhoto(await raw(rgb, 3).withMetadata({ orientation: 6 }).png().toBuffer());
    assert.deepEqual([photo.width, photo.height], [h, w]);
    const levels = toLevels(photo, 8);
    for (let y = 0; y < w; y++)
      for (let x = 0; x < h; x++)
        for (let c = 0; c < 3; c++)
          assert.equal(levels[(y * h + x) * 3 + c], rgb[((h - 1 - x) * w + y) * 3 + c]);
  });

  test("puts transparent parts on white", async () => {
    const rgba = noiseBytes(w, h, 4);
    const photo = await readPhoto(await raw(rgba, 4).png().toBuffer());
    for (let p = 0; p < w * h; p++) {
      const alpha = rgba[4 * p + 3]! / 255;
      const expected = (rgba[4 * p + 1]! / 255) * alpha + (1 - alpha);
      assert.ok(Math.abs(photo.data[3 * p + 1]! - expected) < 4e-7);
    }
  });

  test("takes floating-point pixels unchanged", async () => {
    const data = Float32Array.from(rgb, (level) => level / 251);
    const photo = await readPhoto({ data, width: w, height: h, channels: 3 });
    assert.deepEqual(photo.data, data);
  });

  test("identifies a photo by its bytes", async () => {
    const png = await raw(rgb, 3).png().toBuffer();
    writeFileSync(file("same.png"), png);
    const [fromFile, fromBytes] = [await readPhoto(file("same.png")), await readPhoto(png)];
    assert.equal(fromFile.sha256, fromBytes.sha256);
    assert.deepEqual([fromFile.source, fromBytes.source], [file("same.png"), "the photo"]);
  });

  test("tells the same pixels in other layouts apart", async () => {
    const data = new Uint8Array(32 * 64 * 2).fill(100);
    const images = [
      { data, width: 64, height: 32, channels: 2 },
      { data, width: 32, height: 64, channels: 2 },
      { data: new Uint16Array(data.buffer), width: 64, height: 32, channels: 1 },
    ];
    const hashes = await Promise.all(images.map(async (image) => (await readPhoto(image)).sha256));
    assert.equal(new Set(hashes).size, 3);
  });

  test("reads an image of one colour", async () => {
    const red = sharp({ create: { width: 32, height: 32, channels: 3, background: "red" } });
    const photo = await readPhoto(await red.png().toBuffer());
    assert.deepEqual([...photo.data.subarray(0, 3)], [1, 0, 0]);
  });
});

describe("readDepthMap", () => {
  const deep = Uint16Array.from({ length: w * h }, (_, i) => (i * 137) % 65536);
  const inputs: [string, () => Promise<Parameters<typeof readDepthMap>[0]>][] = [
    ["file", () => encodeImage({ data: deep, width: w, height: h, channels: 1 }, "png")],
    ["array", async () => ({ data: deep, width: w, height: h, channels: 1 })],
  ];
  for (const [kind, input] of inputs)
    test(`keeps the 16 bits of a ${kind}`, async () => {
      const map = await readDepthMap(await input());
      assert.equal(map.channels, 1);
      assert.deepEqual(
        map.data,
        Float32Array.from(deep, (level) => level / 65535),
      );
      assert.deepEqual(toLevels(map, 16), deep);
    });

  test("keeps the levels of a grey file", async () => {
    const map = await readDepthMap(example("portrait_depth.png"));
    const plain = await sharp(example("portrait_depth.png")).raw().toBuffer({ resolveWithObject: true });
    assert.deepEqual(
      toLevels(map, 8),
      Uint8Array.from(map.data, (_, p) => plain.data[p * plain.info.channels]!),
    );
    assert.deepEqual(map.warnings, []);
  });

  test("uses the luminance of a map in colour, with a warning", async () => {
    const map = await readDepthMap({ data: rgb, width: w, height: h, channels: 3 });
    const expected = (0.299 * rgb[21]! + 0.587 * rgb[22]! + 0.114 * rgb[23]!) / 255;
    assert.ok(Math.abs(map.data[7]! - expected) < 4e-5);
    assert.match(map.warnings[0]!, /is in colour.*luminance/);
  });

  test("takes a map with opaque alpha", async () => {
    const opaque = Uint8Array.from({ length: w * h * 2 }, (_, i) => (i % 2 ? 255 : (i * 5) % 256));
    const map = await readDepthMap(await raw(opaque, 2).png().toBuffer());
    assert.equal(toLevels(map, 8)[3], opaque[6]);
  });

  test("refuses transparent parts", async () => {
    const rgba = noiseBytes(w, h, 4);
    await assert.rejects(
      readDepthMap({ data: rgba, width: w, height: h, channels: 4 }),
      /transparent parts, which say nothing about depth/,
    );
  });

  test("refuses a map that is the same everywhere", async () => {
    const flat = { data: new Uint8Array(w * h).fill(7), width: w, height: h, channels: 1 };
    await assert.rejects(readDepthMap(flat), /every pixel has the same value/);
  });
});

describe("a mask", () => {
  /** 16 × 16 pixels that repeat a few. */
  const of = (channels: number, ...pixels: number[]) => ({
    data: Uint8Array.from({ length: 16 * 16 * channels }, (_, i) => pixels[i % pixels.length]!),
    width: 16,
    height: 16,
    channels,
  });

  test("in colour counts by its luminance, with a warning", async () => {
    const mask = await readMask(of(3, 0, 0, 0, 255, 0, 0));
    assert.deepEqual(toLevels(mask, 8).slice(0, 2), Uint8Array.of(0, 76));
    assert.match(mask.warnings[0]!, /^the mask is in colour, .* only white parts change completely\.$/);
  });

  test("in grey, or in colour where it is transparent, gives no warning", async () => {
    assert.deepEqual((await readMask(of(1, 0, 200))).warnings, []);
    assert.deepEqual((await readMask(of(4, 0, 0, 0, 255, 255, 0, 0, 0))).warnings, []);
  });
});

describe("files that cannot be read", () => {
  const solid = (width: number, height: number): Promise<Buffer> =>
    sharp({ create: { width, height, channels: 3, background: "red" } })
      .png()
      .toBuffer();

  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64"/></svg>';

  before(async () => {
    const png = await raw(rgb, 3).png().toBuffer();
    const jpeg = await raw(rgb, 3).jpeg().toBuffer();
    const frames = sharp(Buffer.concat([rgb, rgb.toReversed()]), {
      raw: { width: w, height: 2 * h, channels: 3, pageHeight: h },
    });
    const animation = Buffer.from("000000086163544c00000002000000000000000000", "hex").subarray(0, 20);
    mkdirSync(file("folder.png"));
    for (const [name, bytes] of Object.entries({
      "whole.png": png,
      "empty.png": Buffer.alloc(0),
      "text.png": Buffer.from("no image at all"),
      "cut.png": png.subarray(0, png.length / 2),
      "cut.jpg": jpeg.subarray(0, jpeg.length / 2),
      "header.png": png.subarray(0, 30),
      "moving.gif": await frames.clone().gif().toBuffer(),
      "moving.webp": await frames.clone().webp().toBuffer(),
      "moving.png": Buffer.concat([png.subarray(0, 33), animation, png.subarray(33)]),
      "dot.png": await solid(1, 1),
      "ten.png": await solid(10, 10),
      "long.png": await solid(30_000, 20),
      "huge.png": withSize(await solid(40, 40), 30_000, 30_000),
      "hollow.jpg": await jpegClaiming(9000, 9000),
      "hollow.tif": tiffOf(Buffer.alloc(300, 7), 9000, 9000, tiffCompression.lzw),
      "hollow-jpeg.tif": tiffOf(await jpegClaiming(9000, 9000), 9000, 9000, tiffCompression.jpeg),
      "short.jpg": endedEarly(jpeg, 0.6),
      ...cutTiffs(jpeg),
      "drawing.svg": Buffer.from(svg),
      "declared.svg": Buffer.from(`<?xml version="1.0"?>\n<!-- a comment -->\n${svg}`),
      "drawing.svgz": gzipSync(svg),
      "drawing.png": Buffer.from(svg),
      "page.pdf": Buffer.from("%PDF-1.7\n%…\n1 0 obj"),
      "page.eps": Buffer.from("%!PS-Adobe-3.0 EPSF-3.0\n"),
      "sketch.mvg": Buffer.from("push graphic-context\nviewbox 0 0 64 64\n"),
      "pixels.ppm": Buffer.concat([Buffer.from("P6 24 20 255\n"), rgb]),
    }))
      writeFileSync(file(name), bytes);
  });

  const cases: [name: string, message: RegExp][] = [
    ["nowhere.png", /there is no such file/],
    ["whole.png/x.png", /there is no such file/],
    ["empty.png", /the file is empty/],
    ["text.png", /not an image that can be read/],
    ["cut.png", /damaged or cut off/],
    ["cut.jpg", /damaged or cut off/],
    ["header.png", /damaged or cut off/],
    ["folder.png", /is a folder/],
    ["moving.gif", /is animated/],
    ["moving.webp", /is animated/],
    ["moving.png", /is animated/],
    ["dot.png", /is 1 × 1 pixels; images need at least 16/],
    ["ten.png", /is 10 × 10 pixels; images need at least 16/],
    ["long.png", /is 30000 × 20 pixels; the limit is 20000/],
    ["huge.png", /is 30000 × 30000 pixels; the limit is 20000/],
    ["hollow.jpg", /cut off.*too little data/],
    ["hollow.tif", /cut off.*too little data/],
    ["hollow-jpeg.tif", /cut off.*too little data/],
    ["short.jpg", /damaged or cut off/],
    ...Object.keys(cutTiffs(Buffer.alloc(100))).map((name): [string, RegExp] => [name, /damaged or cut off/]),
    ["drawing.svg", /is a drawing.*export it as PNG/],
    ["declared.svg", /is a drawing/],
    ["drawing.svgz", /is a drawing/],
    ["drawing.png", /is a drawing/],
    ["page.pdf", /is a drawing/],
    ["page.eps", /is a drawing/],
    ["sketch.mvg", /not an image that can be read/],
    ["pixels.ppm", /not an image that can be read/],
  ];
  for (const [name, message] of cases)
    for (const read of [readPhoto, readDepthMap])
      test(`${read.name} refuses ${name} in one sentence that names it`, async () => {
        await assert.rejects(read(file(name)), (error) => {
          assert.ok(error instanceof ImageError);
          assert.equal(error.source, file(name));
          assert.match(error.message, message);
          assert.ok(!error.message.includes("\n"));
          return true;
        });
      });

  /** TIFFs of which the first half or more is left. */
  function cutTiffs(jpeg: Buffer): Record<string, Buffer> {
    const whole = {
      jpeg: tiffOf(jpeg, w, h, tiffCompression.jpeg),
      none: tiffOf(Buffer.from(rgb), w, h, tiffCompression.none),
    };
    return Object.fromEntries(
      Object.entries(whole).flatMap(([name, tiff]) =>
        [50, 70, 90].map((percent) => [
          `cut-${percent}-${name}.tif`,
          tiff.subarray(0, Math.floor((tiff.length * percent) / 100)),
        ]),
      ),
    );
  }

  test("takes the whole TIFFs that are refused when cut off", async () => {
    const jpeg = await raw(rgb, 3).jpeg().toBuffer();
    for (const [compression, strip] of [
      [tiffCompression.jpeg, jpeg],
      [tiffCompression.none, Buffer.from(rgb)],
    ] as const) {
      const photo = await readPhoto(tiffOf(strip, w, h, compression));
      assert.deepEqual([photo.width, photo.height], [w, h]);
    }
  });

  test("takes a JPEG with superfluous bytes between its parts", async () => {
    const jpeg = await raw(rgb, 3).jpeg().toBuffer();
    const scan = jpeg.indexOf(Buffer.from([0xff, 0xda]));
    const padded = Buffer.concat([jpeg.subarray(0, scan), Buffer.alloc(4, 1), jpeg.subarray(scan)]);
    assert.deepEqual((await readPhoto(padded)).data, (await readPhoto(jpeg)).data);
  });

  for (const read of [readPhoto, readDepthMap, inspectImage])
    test(`${read.name} refuses a pipe without waiting for a writer`, {
      skip: withoutPipes,
      timeout: 5000,
    }, async () => {
      makePipe(file(`${read.name}.png`));
      await assert.rejects(read(file(`${read.name}.png`)), /is a pipe, a device or a socket/);
    });

  /** A PNG with another size in its header, which must be refused before decoding. */
  function withSize(png: Buffer, width: number, height: number): Buffer {
    const bytes = Buffer.from(png);
    bytes.writeUInt32BE(width, 16);
    bytes.writeUInt32BE(height, 20);
    bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
    return bytes;
  }

  function crc32(bytes: Uint8Array): number {
    let crc = ~0;
    for (const byte of bytes) {
      crc ^= byte;
      for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc >>> 0;
  }
});

describe("pixels that cannot be read", () => {
  test("no bytes", async () => {
    await assert.rejects(readPhoto(new Uint8Array()), /the photo: the file is empty/);
  });
  test("too few values for the size", async () => {
    await assert.rejects(
      readPhoto({ data: rgb, width: w, height: h, channels: 4 }),
      /do not make 24 × 20 pixels of 4 channels/,
    );
  });
  for (const data of [
    new Float64Array(w * h),
    new Uint32Array(w * h),
    new Int8Array(w * h),
    new BigUint64Array(w * h),
    new DataView(new ArrayBuffer(w * h)),
  ])
    test(`a ${data.constructor.name}`, async () => {
      const image = { data: data as unknown as Uint8Array, width: w, height: h, channels: 1 };
      for (const read of [readPhoto, readDepthMap])
        await assert.rejects(read(image), (error) => {
          assert.ok(error instanceof ImageError, String(error));
          assert.match(error.message, new RegExp(`in a ${data.constructor.name}; expected a Uint8Array`));
          return true;
        });
    });
  test("floating-point values outside of 0 to 1", async () => {
    const data = new Float32Array(w * h).fill(2);
    await assert.rejects(readPhoto({ data, width: w, height: h, channels: 1 }), /must lie between 0 and 1/);
  });
});

test("inspectImage tells format and size without decoding", async () => {
  writeFileSync(file("inspected.webp"), await raw(rgb, 3).webp().toBuffer());
  const { format, width, height, exif } = await inspectImage(file("inspected.webp"));
  assert.deepEqual([format, width, height, exif], ["webp", w, h, undefined]);
});
