import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { MlxError } from "../src/errors.js";
import { loadSafetensors } from "../src/io.js";
import { readSafetensorsHeader, SafetensorsError } from "../src/safetensors.js";
import { goldenFile } from "./support/golden.js";
import { temporaryFolder } from "./support/process.js";

const folder = temporaryFolder();

/** Writes a file of a header (text or bytes) and some bytes of data; `length` is the stated length of the header. */
function fileOf(header: string | Buffer, dataBytes: number, length?: bigint): string {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  const path = join(folder, "case.safetensors");
  writeFileSync(path, Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]));
  return path;
}

const entry = (shape: unknown, offsets: unknown, dtype: unknown = "F32"): string =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

/** Asserts that the file is rejected with a message that names it and matches. */
function refused(path: string, message: RegExp): void {
  assert.throws(
    () => readSafetensorsHeader(path),
    (error: unknown) => {
      assert.ok(error instanceof SafetensorsError && error instanceof MlxError, String(error));
      assert.equal(error.name, "SafetensorsError");
      assert.equal(error.path, path);
      assert.ok(error.message.includes(path));
      assert.match(error.message, message);
      return true;
    },
  );
}

describe("readSafetensorsHeader", () => {
  test("reads a valid file", () => {
    const { tensors, metadata, dataOffset } = readSafetensorsHeader(
      fileOf(
        `{"__metadata__": {"format": "pt"}, "b": ${entry([2, 3], [4, 28])}, "a\\n" : ${entry([2], [0, 4], "BF16")},
          "scalar": ${entry([], [28, 32])}, "none": ${entry([0, 5], [28, 28])}}   `,
        32,
      ),
    );
    assert.deepEqual([...metadata], [["format", "pt"]]);
    assert.deepEqual([...tensors.keys()], ["a\n", "b", "none", "scalar"]);
    assert.deepEqual(tensors.get("b"), {
      dtype: "F32",
      shape: [2, 3],
      start: dataOffset + 4,
      end: dataOffset + 28,
    });
    assert.deepEqual(tensors.get("scalar")?.shape, []);
  });

  test("reads a file written by MLX", () => {
    const { tensors } = readSafetensorsHeader(goldenFile);
    const noise = tensors.get("noise_42_256x256");
    assert.deepEqual(noise?.shape, [1, 256, 64]);
    assert.equal(noise.dtype, "F32");
    assert.equal(noise.end - noise.start, 256 * 64 * 4);
  });

  const good = `{"a": ${entry([2], [0, 8])}}`;
  const cases: [name: string, path: () => string, message: RegExp][] = [
    ["nothing at all", () => write(Buffer.alloc(0)), /too few/],
    ["seven bytes", () => write(Buffer.alloc(7)), /too few/],
    ["header length 0", () => fileOf(good, 8, 0n), /0 bytes long/],
    ["header length 2^60", () => fileOf(good, 8, 2n ** 60n), /truncated or not a safetensors/],
    ["header length 2^64 - 1", () => fileOf(good, 8, 2n ** 64n - 1n), /truncated or not a safetensors/],
    [
      "header one byte longer than the file",
      () => fileOf(good, 0, BigInt(good.length + 1)),
      /truncated or not/,
    ],
    ["header cut by its length", () => fileOf(good, 8, BigInt(good.length - 3)), /not JSON/],
    ["header that takes in data", () => fileOf(good, 8, BigInt(good.length + 2)), /not JSON/],
    ["not JSON", () => fileOf("{a: 1}", 0), /not JSON/],
    ["not UTF-8", () => fileOf(Buffer.from(good.replace("a", "\xff"), "latin1"), 8), /not UTF-8/],
    ["a lone surrogate", () => fileOf(good.replace("a", "\\ud800"), 8), /not Unicode/],
    ["a byte order mark", () => fileOf(`\ufeff${good}`, 8), /not JSON/],
    ["text after the object", () => fileOf(`${good}x`, 8), /not JSON/],
    ["a list", () => fileOf("[1, 2]", 0), /not a JSON object/],
    ["a number", () => fileOf("12", 0), /not a JSON object/],
    ["deep nesting", () => fileOf("[".repeat(1_000_000), 0), /nested too deeply/],
    ["deep nesting in metadata", () => fileOf(`{"__metadata__": {"a": [[1]]}}`, 0), /nested too deeply/],
    ["metadata that is a list", () => fileOf(`{"__metadata__": []}`, 0), /__metadata__ is not an object/],
    [
      "metadata that is a number",
      () => fileOf(`{"__metadata__": {"a": 1}}`, 0),
      /metadata "a" is not a string/,
    ],
    [
      "a name twice",
      () => fileOf(`{"a": ${entry([1], [0, 4])}, "a": ${entry([1], [4, 8])}}`, 8),
      /"a" twice/,
    ],
    [
      "a name twice, once escaped",
      () => fileOf(`{"a": ${entry([1], [0, 4])}, "\\u0061": ${entry([1], [0, 4])}}`, 4),
      /"a" twice/,
    ],
    [
      "a name twice, far from its colon",
      () => fileOf(`{"a": ${entry([1], [0, 4])}, "a"${" ".repeat(99)}: ${entry([1], [0, 4])}}`, 4),
      /"a" twice/,
    ],
    [
      "a field twice",
      () => fileOf(`{"a": {"dtype": "F32", "shape": [9], "shape": [2], "data_offsets": [0, 8]}}`, 8),
      /"shape" twice/,
    ],
    ["metadata twice", () => fileOf(`{"__metadata__": {"k": "1", "k": "2"}}`, 0), /"k" twice/],
    ["an entry that is null", () => fileOf(`{"a": null}`, 0), /not described/],
    ["an entry that is a list", () => fileOf(`{"a": []}`, 0), /not described/],
    ["no dtype", () => fileOf(`{"a": {"shape": [2], "data_offsets": [0, 8]}}`, 8), /dtype \(none\)/],
    ["an unknown dtype", () => fileOf(`{"a": ${entry([2], [0, 8], "F33")}}`, 8), /dtype "F33"/],
    [
      "a dtype from the prototype",
      () => fileOf(`{"a": ${entry([2], [0, 8], "constructor")}}`, 8),
      /dtype "constructor"/,
    ],
    ["a dtype that is a number", () => fileOf(`{"a": ${entry([2], [0, 8], 32)}}`, 8), /dtype 32/],
    ["F64, which MLX cannot read", () => fileOf(`{"a": ${entry([1], [0, 8], "F64")}}`, 8), /dtype "F64"/],
    ["no shape", () => fileOf(`{"a": {"dtype": "F32", "data_offsets": [0, 4]}}`, 4), /shape \(none\)/],
    ["a shape that is a number", () => fileOf(`{"a": ${entry(2, [0, 8])}}`, 8), /shape 2/],
    ["a negative size", () => fileOf(`{"a": ${entry([-4, -4], [0, 64])}}`, 64), /shape \[-4,-4\]/],
    ["a fractional size", () => fileOf(`{"a": ${entry([1.5, 2], [0, 12])}}`, 12), /shape \[1.5,2\]/],
    [
      "an infinite size",
      () => fileOf(`{"a": {"dtype": "U8", "shape": [1e999], "data_offsets": [0, 8]}}`, 8),
      /shape/,
    ],
    ["a size as text", () => fileOf(`{"a": ${entry(["2"], [0, 8])}}`, 8), /shape \["2"\]/],
    [
      "a size that wraps in 32 bits",
      () => fileOf(`{"a": ${entry([2 ** 32 + 4], [0, 16])}}`, 16),
      /shape \[4294967300\]/,
    ],
    [
      "a size that wraps in 64 bits",
      () => fileOf(`{"a": {"dtype": "U8", "shape": [18446744073709551620], "data_offsets": [0, 4]}}`, 4),
      /shape/,
    ],
    [
      "a product that wraps",
      () => fileOf(`{"a": ${entry([65536, 65536, 65536, 65536], [0, 0])}}`, 0),
      /too large/,
    ],
    [
      "a product hidden by a zero",
      () => fileOf(`{"a": ${entry([2 ** 31 - 1, 2 ** 31 - 1, 0], [0, 0])}}`, 0),
      /too large/,
    ],
    ["5001 axes", () => fileOf(`{"a": ${entry(new Array(5001).fill(1), [0, 4])}}`, 4), /5001 axes/],
    ["nine axes", () => fileOf(`{"a": ${entry(new Array(9).fill(1), [0, 4])}}`, 4), /9 axes/],
    [
      "fewer bytes than the shape",
      () => fileOf(`{"a": ${entry([3], [0, 8])}}`, 8),
      /takes 12 bytes, the header gives it 8/,
    ],
    [
      "more bytes than the shape",
      () => fileOf(`{"a": ${entry([1], [0, 8])}}`, 8),
      /takes 4 bytes, the header gives it 8/,
    ],
    ["no offsets", () => fileOf(`{"a": {"dtype": "F32", "shape": [1]}}`, 4), /data_offsets \(none\)/],
    ["one offset", () => fileOf(`{"a": ${entry([1], [4])}}`, 4), /data_offsets \[4\]/],
    ["three offsets", () => fileOf(`{"a": ${entry([1], [0, 4, 8])}}`, 8), /data_offsets \[0,4,8\]/],
    ["negative offsets", () => fileOf(`{"a": ${entry([1], [-4, 0])}}`, 4), /data_offsets \[-4,0\]/],
    ["offsets backwards", () => fileOf(`{"a": ${entry([1], [4, 0])}}`, 4), /data_offsets \[4,0\]/],
    ["huge offsets", () => fileOf(`{"a": ${entry([1], [2 ** 60, 2 ** 60 + 4])}}`, 4), /data_offsets/],
    ["offsets past the end", () => fileOf(`{"a": ${entry([4], [0, 16])}}`, 8), /truncated/],
    [
      "an overlap",
      () => fileOf(`{"a": ${entry([2], [0, 8])}, "b": ${entry([2], [4, 12])}}`, 12),
      /"b" overlaps/,
    ],
    [
      "the same bytes twice",
      () => fileOf(`{"a": ${entry([2], [0, 8])}, "b": ${entry([2], [0, 8])}}`, 8),
      /overlaps/,
    ],
    [
      "a gap",
      () => fileOf(`{"a": ${entry([1], [0, 4])}, "b": ${entry([1], [8, 12])}}`, 12),
      /4 bytes before tensor "b"/,
    ],
    ["a gap at the start", () => fileOf(`{"a": ${entry([1], [4, 8])}}`, 8), /4 bytes before tensor "a"/],
    ["bytes after the last tensor", () => fileOf(good, 9), /last 1 bytes/],
    ["a truncated file", () => fileOf(good, 7), /truncated/],
    ["a folder", () => folder, /not a file/],
    ["a missing file", () => join(folder, "none.safetensors"), /no such file/],
    ["a header over 100 MB", () => sparse(100_000_001), /more than the 100000000/],
  ];
  for (const [name, path, message] of cases) test(`rejects ${name}`, () => refused(path(), message));

  test("rejects a thousand damaged headers, or reads them as valid files", () => {
    const sound = `{"__metadata__":{"format":"pt"},"a":${entry([2, 3], [0, 24])},"b":${entry([4], [24, 32], "BF16")},"c":${entry([], [32, 36])}}`;
    assert.equal(readSafetensorsHeader(fileOf(sound, 36)).tensors.size, 3);
    const random = generator(7);
    let refusals = 0;
    for (let i = 0; i < 1000; i++) {
      const bytes = mutate(Buffer.from(sound), random);
      const path = fileOf(bytes, 36);
      try {
        const { tensors, dataOffset } = readSafetensorsHeader(path);
        // A header that is accepted must be as valid as the original: the tensors fill the data exactly.
        let end = dataOffset;
        for (const tensor of tensors.values()) {
          assert.equal(tensor.start, end);
          ({ end } = tensor);
        }
        assert.equal(end, dataOffset + 36);
        // MLX must read the same.
        if (i % 10 > 0) continue;
        const { arrays } = loadSafetensors(path);
        assert.deepEqual([...arrays.keys()].sort(), [...tensors.keys()].sort());
        for (const [name, one] of arrays) {
          assert.deepEqual(one.shape, tensors.get(name)?.shape);
          assert.equal(one.toTypedArray().length, one.size);
          one.dispose();
        }
      } catch (error) {
        assert.ok(error instanceof SafetensorsError, `${bytes}: ${error}`);
        refusals++;
      }
    }
    // Some mutations are harmless: in the name of a tensor, in the metadata, or a swap of equal sizes.
    assert.ok(refusals > 600, `${refusals}`);
  });
});

function write(bytes: Buffer): string {
  const path = join(folder, "case.safetensors");
  writeFileSync(path, bytes);
  return path;
}

/** Makes a sparse file with a header of `headerBytes`. */
function sparse(headerBytes: number): string {
  mkdirSync(join(folder, "sparse"), { recursive: true });
  const path = join(folder, "sparse", "case.safetensors");
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(headerBytes));
  writeFileSync(path, prefix);
  const file = openSync(path, "r+");
  ftruncateSync(file, 8 + headerBytes);
  closeSync(file);
  return path;
}

/** Makes a generator of uniform numbers in [0, 1), the same on every run (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Changes a header in one to three places: a byte, a number, a cut, a repeated or a removed stretch. */
function mutate(header: Buffer, random: () => number): Buffer {
  let bytes = header;
  const pick = (n: number): number => Math.floor(random() * n);
  for (let times = 1 + pick(3); times > 0; times--) {
    const at = pick(bytes.length);
    switch (pick(5)) {
      case 0:
        bytes = Buffer.from(bytes);
        bytes[at] = pick(256);
        break;
      case 1: {
        const numbers = ["-1", "0", "4294967300", "1e400", "0.5", "9007199254740993", "99999999999999999999"];
        const text = bytes.toString("latin1");
        const places = [...text.matchAll(/\d+/g)];
        const place = places[pick(places.length)];
        if (place)
          bytes = Buffer.from(
            text.slice(0, place.index) +
              numbers[pick(numbers.length)] +
              text.slice(place.index + place[0].length),
            "latin1",
          );
        break;
      }
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + pick(40))]);
        break;
      default: {
        const end = Math.min(bytes.length, at + 1 + pick(60));
        bytes = Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
      }
    }
  }
  return bytes;
}
