import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { ImageError, OptionError, OutputError } from "../../src/errors.js";
import { checkWritable, saveFile } from "../../src/files/output.js";
import {
  encodeImage,
  formatOf,
  inspectImage,
  readDepthMap,
  readPhoto,
  toBytes,
  toModelInput,
} from "../../src/images/image.js";
import { interpolate } from "../../src/images/resample.js";

const golden = fileURLToPath(new URL("../../../test/golden/", import.meta.url));
const images = fileURLToPath(new URL("../../../../../examples/images/", import.meta.url));

let folder: string;
const at = (name: string): string => join(folder, name);
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mflux-depth-image-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A picture without regularities: width × height × channels bytes. */
const noise = (width: number, height: number, channels: number): Uint8Array =>
  Uint8Array.from({ length: width * height * channels }, (_, i) => (i * 7919 + i * i * 31) % 251);
const [w, h] = [24, 20];
const rgb = noise(w, h, 3);
const raw = (data: Uint8Array, channels: 1 | 2 | 3 | 4) =>
  sharp(data, { raw: { width: w, height: h, channels } });

/** The first tensor of a name in a safetensors file, float32. */
async function tensor(file: string, name: string): Promise<Float32Array> {
  const bytes = await readFile(join(golden, file));
  const size = Number(bytes.readBigUInt64LE(0));
  const [start, end] = JSON.parse(bytes.toString("utf8", 8, 8 + size))[name].data_offsets;
  return new Float32Array(
    bytes.buffer.slice(bytes.byteOffset + 8 + size + start, bytes.byteOffset + 8 + size + end),
  );
}

const relative = (out: ArrayLike<number>, expected: ArrayLike<number>): number => {
  assert.equal(out.length, expected.length);
  let [error, size] = [0, 0];
  for (let i = 0; i < out.length; i++) {
    error += (out[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(error / size);
};

test("photos are decoded and interpolated as the reference's Depth Pro input", async () => {
  for (const [n, name] of ["shapes.png", "astronaut.jpg", "coffee.jpg"].entries()) {
    const photo = await readPhoto(join(images, name));
    const normalized = { ...photo, data: photo.data.map((v) => (v - 127.5) / 127.5) };
    const small = interpolate(normalized, 128, 128);
    const planes = Float32Array.from({ length: 3 * 128 * 128 }, (_, i) => {
      const plane = 128 * 128;
      return small.data[(i % plane) * 3 + Math.floor(i / plane)]!;
    });
    const error = relative(planes, await tensor("depth_pro.safetensors", `pixels_${n}`));
    assert.ok(error < 1e-6, `${name}: ${error}`);
  }
});

test("every kind of file becomes RGB of 0 to 255", async () => {
  const files: [string, Promise<Buffer>, (i: number) => number, number][] = [
    ["rgb.png", raw(rgb, 3).png().toBuffer(), (i) => rgb[i]!, 0],
    ["rgb.webp", raw(rgb, 3).webp({ lossless: true }).toBuffer(), (i) => rgb[i]!, 0],
    ["rgb.tif", raw(rgb, 3).tiff({ compression: "lzw" }).toBuffer(), (i) => rgb[i]!, 0],
    [
      "grey.png",
      raw(noise(w, h, 1), 1)
        .toColourspace("b-w")
        .png()
        .toBuffer(),
      (i) => noise(w, h, 1)[Math.floor(i / 3)]!,
      0,
    ],
  ];
  for (const [name, bytes, expected, tolerance] of files) {
    await writeFile(at(name), await bytes);
    const photo = await readPhoto(at(name));
    assert.deepEqual([photo.width, photo.height, photo.channels], [w, h, 3]);
    for (const [i, v] of photo.data.entries())
      assert.ok(Math.abs(v - expected(i)) <= tolerance, `${name} ${i}`);
  }
  const bands = Uint8Array.from(
    { length: w * h * 3 },
    (_, i) => ((i / 3) % w < w / 2 ? [180, 120, 90] : [110, 150, 130])[i % 3]!,
  );
  for (const [name, bytes] of [
    ["palette.png", await raw(bands, 3).png({ palette: true, quality: 100 }).toBuffer()],
    ["still.gif", await raw(bands, 3).gif().toBuffer()],
    [
      "cmyk.jpg",
      await raw(bands, 3).toColourspace("cmyk").jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toBuffer(),
    ],
    ["photo.avif", await raw(bands, 3).avif({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer()],
  ] as const) {
    const photo = await readPhoto(bytes);
    assert.equal(photo.channels, 3, name);
    // The press's colours are not the screen's: what matters is that they are these and not inverted.
    const limit = name === "cmyk.jpg" ? 25 : 8;
    for (const x of [3, w - 4])
      for (let c = 0; c < 3; c++) {
        const i = (5 * w + x) * 3 + c;
        assert.ok(Math.abs(photo.data[i]! - bands[i]!) <= limit, `${name}: ${photo.data[i]} for ${bands[i]}`);
      }
  }
});

test("16 bits keep their fractions", async () => {
  const deep = Uint16Array.from({ length: w * h }, (_, i) => (i * 137) % 65536);
  const png = await encodeImage({ data: deep, width: w, height: h, channels: 1 }, "png");
  assert.equal((await sharp(png).metadata()).depth, "ushort");
  for (const image of [png, { data: deep, width: w, height: h, channels: 1 }]) {
    const map = await readDepthMap(image);
    assert.equal(map.channels, 1);
    for (const [i, v] of map.data.entries()) assert.equal(v, Math.fround((deep[i]! * 255) / 65535));
  }
});

test("EXIF orientation is applied", async () => {
  // Orientation 6: the camera was held upright; the stored picture is to be turned a quarter clockwise.
  const png = await raw(rgb, 3).withMetadata({ orientation: 6 }).png().toBuffer();
  const photo = await readPhoto(png);
  assert.deepEqual([photo.width, photo.height], [h, w]);
  for (let y = 0; y < w; y++)
    for (let x = 0; x < h; x++)
      for (let c = 0; c < 3; c++)
        assert.equal(photo.data[(y * h + x) * 3 + c], rgb[((h - 1 - x) * w + y) * 3 + c]);
});

test("alpha is put on white in photos and refused in maps unless opaque", async () => {
  const rgba = noise(w, h, 4);
  const photo = await readPhoto(await raw(rgba, 4).png().toBuffer());
  for (let p = 0; p < w * h; p++) {
    const alpha = rgba[4 * p + 3]! / 255;
    const expected = rgba[4 * p + 1]! * alpha + 255 * (1 - alpha);
    assert.ok(Math.abs(photo.data[3 * p + 1]! - expected) < 1e-4);
  }
  await assert.rejects(readDepthMap({ data: rgba, width: w, height: h, channels: 4 }), /transparent parts/);
  const opaque = Uint8Array.from({ length: w * h * 2 }, (_, i) => (i % 2 ? 255 : (i * 5) % 256));
  const map = await readDepthMap(await raw(opaque, 2).png().toBuffer());
  assert.equal(map.data[3], opaque[6]);
});

test("a map in colours becomes its luminance, with a warning; a grey one stays as stored", async () => {
  const map = await readDepthMap({ data: rgb, width: w, height: h, channels: 3 });
  assert.match(map.warnings[0]!, /picture in colours/);
  assert.ok(Math.abs(map.data[7]! - (0.299 * rgb[21]! + 0.587 * rgb[22]! + 0.114 * rgb[23]!)) < 0.01);
  const portrait = await readDepthMap(join(images, "portrait_depth.png"));
  assert.deepEqual(portrait.warnings, []);
  const plain = await sharp(join(images, "portrait_depth.png")).raw().toBuffer({ resolveWithObject: true });
  for (let p = 0; p < portrait.data.length; p++)
    assert.equal(portrait.data[p], plain.data[p * plain.info.channels]);
});

test("what cannot be read is refused in one sentence", async () => {
  const png = await raw(rgb, 3).png().toBuffer();
  const jpeg = await raw(rgb, 3).jpeg().toBuffer();
  await writeFile(at("whole.png"), png);
  await writeFile(at("empty.png"), "");
  await writeFile(at("text.png"), "no picture at all");
  await writeFile(at("cut.png"), png.subarray(0, png.length / 2));
  await writeFile(at("cut.jpg"), jpeg.subarray(0, jpeg.length / 2));
  await writeFile(at("header.png"), png.subarray(0, 30));
  await mkdir(at("folder.png"));
  const frames = sharp(Buffer.concat([rgb, rgb.toReversed()]), {
    raw: { width: w, height: 2 * h, channels: 3, pageHeight: h },
  });
  await writeFile(at("moving.gif"), await frames.clone().gif().toBuffer());
  await writeFile(at("moving.webp"), await frames.clone().webp().toBuffer());
  const animation = Buffer.from("000000086163544c00000002000000000000000000", "hex").subarray(0, 20);
  await writeFile(at("moving.png"), Buffer.concat([png.subarray(0, 33), animation, png.subarray(33)]));
  const size = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: "red" } })
      .png()
      .toBuffer();
  await writeFile(at("dot.png"), await size(1, 1));
  await writeFile(at("ten.png"), await size(10, 10));
  await writeFile(at("long.png"), await size(30_000, 20));
  await writeFile(at("flat.png"), await size(32, 32));
  // 30,000 × 30,000 that nobody should decode: a header without pixels.
  const huge = Buffer.from(await size(40, 40));
  huge.writeUInt32BE(30_000, 16);
  huge.writeUInt32BE(30_000, 20);
  const crc = (bytes: Uint8Array) => {
    let c = ~0;
    for (const b of bytes) {
      c ^= b;
      for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c >>> 0;
  };
  huge.writeUInt32BE(crc(huge.subarray(12, 29)), 29);
  await writeFile(at("huge.png"), huge);

  for (const [name, message] of [
    ["nowhere.png", /there is no such file/],
    ["whole.png/x.png", /there is no such file/],
    ["empty.png", /the file is empty/],
    ["text.png", /not a picture that can be read/],
    ["cut.png", /damaged or cut off/],
    ["cut.jpg", /damaged or cut off/],
    ["header.png", /damaged or cut off/],
    ["folder.png", /is a folder/],
    ["moving.gif", /is animated/],
    ["moving.webp", /is animated/],
    ["moving.png", /is animated/],
    ["dot.png", /has 1 × 1 pixels; at least 16/],
    ["ten.png", /has 10 × 10 pixels; at least 16/],
    ["long.png", /has 30000 × 20 pixels; at most 20000/],
    ["huge.png", /has 30000 × 30000 pixels; at most/],
  ] as const)
    for (const read of [readPhoto, readDepthMap])
      await assert.rejects(
        read(at(name)),
        (error) =>
          error instanceof ImageError &&
          error.exitCode === 1 &&
          error.source === at(name) &&
          message.test(error.message) &&
          !error.message.includes("\n"),
        name,
      );
  await assert.rejects(readPhoto(new Uint8Array()), /empty/);
  await assert.rejects(
    readPhoto({ data: rgb, width: w, height: h, channels: 4 }),
    /do not make 24 × 20 pixels/,
  );
  await assert.rejects(
    readPhoto({ data: new Float32Array(w * h).fill(2), width: w, height: h, channels: 1 }),
    /between 0 and 1/,
  );
  await assert.rejects(readDepthMap(at("flat.png")), /every pixel has the same value/);
  assert.equal((await readPhoto(at("flat.png"))).data[0], 255);
});

test("model input: stretched, clamped, from −1 to 1, grey repeated", async () => {
  const half = { data: new Float32Array(32 * 32), width: 32, height: 32, channels: 1 };
  for (let i = 0; i < half.data.length; i++) half.data[i] = i % 32 < 16 ? 0 : 255;
  const input = toModelInput(half, 48, 16);
  assert.equal(input.length, 16 * 48 * 3);
  // Lanczos overshoots at the edge: without the clamp values would pass −1 and 1.
  assert.equal(Math.min(...input), -1);
  assert.equal(Math.max(...input), 1);
  assert.deepEqual([...input.subarray(0, 3)], [-1, -1, -1]);
  for (let p = 0; p < input.length; p += 3) assert.ok(input[p] === input[p + 1] && input[p] === input[p + 2]);
  const same = toModelInput({ data: Float32Array.from(rgb), width: w, height: h, channels: 3 }, w, h);
  for (const [i, v] of same.entries()) assert.ok(Math.abs(v - (rgb[i]! / 127.5 - 1)) < 1e-6);
});

test("pixels out: rounded half to even, clamped", () => {
  // 0.5 / 255 · 2 − 1 is not exact in float32; 0 is: ½ · 255 = 127.5 → 128, the even one.
  assert.deepEqual([...toBytes(Float32Array.of(-5, -1, 0, 1, 5))], [0, 0, 128, 255, 255]);
  const levels = Float32Array.from({ length: 256 }, (_, i) => (i / 255) * 2 - 1);
  assert.deepEqual([...toBytes(levels)], [...levels.keys()]);
});

test("pictures are written in the format that the name asks for", async () => {
  for (const [name, format] of [
    ["a.png", "png"],
    ["a.JPG", "jpeg"],
    ["a.jpeg", "jpeg"],
    ["a.webp", "webp"],
  ] as const) {
    assert.equal(formatOf(name), format);
    await saveFile(at(name), await encodeImage({ data: rgb, width: w, height: h, channels: 3 }, format));
    const info = await inspectImage(at(name));
    assert.deepEqual([info.format, info.width, info.height], [format, w, h]);
  }
  assert.deepEqual((await readPhoto(at("a.png"))).data, Float32Array.from(rgb));
  assert.throws(() => formatOf("a.bmp"), OptionError);
  assert.throws(() => formatOf("a"), /must end in .png/);
});

test("a file appears whole, and never over another unless told to", async () => {
  await mkdir(at("out"));
  const path = at("out/x.png");
  const places = await Promise.all(
    Array.from({ length: 5 }, (_, i) => saveFile(path, `${i}`, { overwrite: false })),
  );
  assert.deepEqual(
    places.toSorted(),
    ["x.png", "x_1.png", "x_2.png", "x_3.png", "x_4.png"].map((name) => at(`out/${name}`)),
  );
  for (const [i, place] of places.entries()) assert.equal(await readFile(place, "utf8"), `${i}`);
  assert.equal(await saveFile(path, "new"), path);
  assert.equal(await readFile(path, "utf8"), "new");
  assert.equal((await readdir(at("out"))).length, 5, "nothing is left beside them");

  await assert.rejects(saveFile(at("none/x.png"), "x"), OutputError);
  await assert.rejects(checkWritable(at("none/x.png")), /folder .*none does not exist; create it first/);
  await assert.rejects(checkWritable(at("out")), /is a folder/);
  await assert.rejects(checkWritable(at("out/x.png/y.png")), /is not a folder|does not exist/);
  await assert.rejects(
    saveFile(at("out"), "x"),
    (e) => e instanceof OutputError && /is a folder/.test(e.message),
  );
  await checkWritable(at("out/y.png"));
});
