import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { encodeImage } from "../../src/images/encode.js";
import {
  type PictureParameters,
  readParameters,
  sidecarPath,
  toComment,
  toSidecar,
} from "../../src/pipeline/metadata.js";

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
  device: "cpu",
  image_path: null,
  image_sha256: null,
  image_strength: null,
  depth_image_path: "C:\\Übung\\karte.png",
  depth_image_sha256: "00ff",
  depth_inverted: false,
  depth_source: "map",
  depth_model: null,
  mlx_version: "0.32.0",
  generation_time_seconds: 1.25,
  stage_seconds: { denoise: 1 },
  created_at: "2026-01-01T00:00:00.000Z",
};

const image = { data: new Uint8Array(32 * 32 * 3).fill(9), width: 32, height: 32, channels: 3 };
const exifOf = async (bytes: Uint8Array) => (await sharp(bytes).metadata()).exif;

test("parameters come back whole from every format", async () => {
  for (const format of ["png", "jpeg", "webp"] as const) {
    const file = await encodeImage(image, format, toComment(parameters));
    assert.deepEqual(readParameters(await exifOf(file)), parameters);
  }
});

test("the comment is plain ASCII in EXIF's own form", async () => {
  assert.match(toComment(parameters), /^[\x20-\x7e]+$/);
  const exif = (await exifOf(await encodeImage(image, "png", toComment(parameters))))!;
  assert.ok(exif.includes(Buffer.from('ASCII\0\0\0{"mflux_depth_version"')));
});

test("a prompt too long for EXIF is cut there and whole beside it", async () => {
  const long = { ...parameters, prompt: "🎉日x".repeat(20_000) };
  for (const format of ["png", "jpeg", "webp"] as const) {
    const read = readParameters(await exifOf(await encodeImage(image, format, toComment(long))))!;
    assert.equal(read.prompt_cut, true);
    assert.equal(read.seed, parameters.seed);
    const prompt = read.prompt as string;
    assert.ok(prompt.length > 8_000 && long.prompt.startsWith(prompt));
    // Throws for half a surrogate pair.
    encodeURIComponent(prompt);
  }
  assert.deepEqual(JSON.parse(toSidecar(long)), long);
});

test("pictures written by mflux and others are read", async () => {
  const written = { mflux_version: "0.24.0", seed: 7, prompt: "日本 é" };
  const tiff = (charset: string, text: Buffer): Buffer => {
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
  assert.deepEqual(readParameters(tiff("ASCII\0\0\0", Buffer.from(json))), written);
  assert.deepEqual(readParameters(tiff("\0\0\0\0\0\0\0\0", Buffer.from(`${json}\0`))), written);
  assert.deepEqual(readParameters(tiff("UNICODE\0", Buffer.from(json, "utf16le"))), written);
  assert.equal(readParameters(tiff("ASCII\0\0\0", Buffer.from("taken on holiday"))), undefined);
  assert.equal(readParameters(Buffer.from("Exif\0\0II*\0\xff\xff\xff\xff")), undefined);
  assert.equal(readParameters(undefined), undefined);
});

test("names of sidecars", () => {
  assert.equal(sidecarPath("a/b.c/out.png"), "a/b.c/out.metadata.json");
  assert.equal(sidecarPath("a.b/out"), "a.b/out.metadata.json");
  assert.equal(sidecarPath("out_1.x.webp"), "out_1.x.metadata.json");
});
