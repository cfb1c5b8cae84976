import assert from "node:assert/strict";
import { describe, test } from "node:test";
import sharp from "sharp";
import { encodeImage } from "../../src/images/encode.js";
import {
  type PictureParameters,
  readParameters,
  sidecarPath,
  toComment,
  toSidecar,
} from "../../src/images/metadata.js";

const parameters: PictureParameters = {
  mflux_depth_version: "0.1.0",
  model: "tiny-world",
  revision: null,
  prompt: 'ÿ 日本の朝 🎉 "quoted" \\ back\nline\u0000\u0007 (x, ASCII, 3 components, 3 bytes) naïve — end)',
  seed: 4294967295,
  steps: 20,
  guidance: 3.5,
  width: 256,
  height: 320,
  max_sequence_length: 64,
  quantize: null,
  int8: false,
  precision: "float32",
  lora_paths: [],
  lora_scales: [],
  lora_sha256: [],
  device: "cpu",
  image_path: null,
  image_sha256: null,
  image_strength: null,
  depth_image_path: "C:\\Übung\\karte.png",
  depth_image_sha256: "00ff",
  depth_inverted: false,
  depth_near: 98,
  depth_far: 0,
  depth_gamma: 1,
  mask_image_path: null,
  mask_image_sha256: null,
  depth_strength: 1,
  depth_start: 0,
  depth_stop: 1,
  fit: "stretch",
  fidelity: null,
  depth_source: "map",
  depth_model: null,
  mlx_version: "0.32.0",
  generation_time_seconds: 1.25,
  stage_seconds: { denoise: 1 },
  created_at: "2026-01-01T00:00:00.000Z",
};

const image = { data: new Uint8Array(32 * 32 * 3).fill(9), width: 32, height: 32, channels: 3 };
const exifOf = async (bytes: Uint8Array) => (await sharp(bytes).metadata()).exif;

const formats = ["png", "jpeg", "webp"] as const;

for (const format of formats)
  describe(`the parameters in a ${format.toUpperCase()}`, () => {
    test("are read as they were written", async () => {
      const file = await encodeImage(image, format, toComment(parameters));
      assert.deepEqual(readParameters(await exifOf(file)), parameters);
    });

    test("have a shortened prompt if it does not fit into EXIF", async () => {
      const long = { ...parameters, prompt: "🎉日x".repeat(20_000) };
      const read = readParameters(await exifOf(await encodeImage(image, format, toComment(long))))!;
      assert.equal(read.prompt_cut, true);
      assert.equal(read.seed, parameters.seed);
      const prompt = read.prompt as string;
      assert.ok(prompt.length > 8_000 && long.prompt.startsWith(prompt));
      // Throws for half a surrogate pair.
      encodeURIComponent(prompt);
    });
  });

describe("the comment in EXIF", () => {
  test("is plain ASCII", () => {
    assert.match(toComment(parameters), /^[\x20-\x7e]+$/);
  });

  test("names its charset", async () => {
    const exif = (await exifOf(await encodeImage(image, "png", toComment(parameters))))!;
    assert.ok(exif.includes(Buffer.from('ASCII\0\0\0{"mflux_depth_version"')));
  });
});

describe("the sidecar", () => {
  test("has the whole prompt", () => {
    const long = { ...parameters, prompt: "🎉日x".repeat(20_000) };
    assert.deepEqual(JSON.parse(toSidecar(long)), long);
  });

  for (const [path, expected] of [
    ["a/b.c/out.png", "a/b.c/out.metadata.json"],
    ["a.b/out", "a.b/out.metadata.json"],
    ["out_1.x.webp", "out_1.x.metadata.json"],
  ] as const)
    test(`of ${path} is ${expected}`, () => {
      assert.equal(sidecarPath(path), expected);
    });
});

describe("images of other programs", () => {
  const written = { mflux_version: "0.24.0", seed: 7, prompt: "日本 é" };
  /** An EXIF block with a comment. */
  const exifWith = (charset: string, text: Buffer): Buffer => {
    const comment = Buffer.concat([Buffer.from(charset, "latin1"), text]);
    const head = Buffer.alloc(44);
    head.write("II*\0", 0, "latin1");
    head.writeUInt32LE(8, 4);
    head.writeUInt16LE(1, 8); // One entry: the Exif IFD at 26.
    head.writeUInt16LE(0x8769, 10);
    head.writeUInt16LE(4, 12);
    head.writeUInt32LE(1, 14);
    head.writeUInt32LE(26, 18);
    head.writeUInt16LE(1, 26); // One entry: UserComment at 44.
    head.writeUInt16LE(0x9286, 28);
    head.writeUInt16LE(7, 30);
    head.writeUInt32LE(comment.length, 32);
    head.writeUInt32LE(44, 36);
    return Buffer.concat([Buffer.from("Exif\0\0", "latin1"), head, comment]);
  };
  const json = JSON.stringify(written);

  test("have parameters if mflux wrote them", () => {
    assert.deepEqual(readParameters(exifWith("ASCII\0\0\0", Buffer.from(json))), written);
  });

  test("may leave the charset open and end in zeros", () => {
    assert.deepEqual(readParameters(exifWith("\0\0\0\0\0\0\0\0", Buffer.from(`${json}\0`))), written);
  });

  test("may use UTF-16", () => {
    assert.deepEqual(readParameters(exifWith("UNICODE\0", Buffer.from(json, "utf16le"))), written);
  });

  for (const [name, exif] of [
    ["a comment is not JSON", exifWith("ASCII\0\0\0", Buffer.from("taken on holiday"))],
    ["EXIF is damaged", Buffer.from("Exif\0\0II*\0\xff\xff\xff\xff")],
    ["there is no EXIF", undefined],
  ] as const)
    test(`have no parameters if ${name}`, () => {
      assert.equal(readParameters(exif), undefined);
    });
});
