import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ModelError } from "../../../src/errors.js";
import { readGgufHeader } from "../../../src/weights/gguf/header.js";
import { folderPerTest } from "../../support/folders.js";
import { GgufWriter, ggufHeader } from "../../support/gguf.js";
import { modelError } from "../../support/hub-fixture.js";
import { expectedOf, oneFile } from "../../support/one-file.js";

const folder = folderPerTest("mflux-depth-gguf");

/** Begins the header of a GGUF file. */
const header = (tensors: number | bigint, fields: number | bigint = 0, version = 3): GgufWriter =>
  ggufHeader(folder(), tensors, fields, version);

describe("the header of a GGUF file", () => {
  test("gives shapes with rows first", () => {
    const { tensors } = readGgufHeader(oneFile("k-types.gguf"));
    assert.deepEqual(tensors.get("img_in.weight")?.shape, [256, 128]);
    assert.equal(tensors.get("double_blocks.0.img_attn.qkv.weight")?.type.name, "Q4_K");
  });

  test("may specify an alignment", () => {
    const { fields, tensors } = readGgufHeader(oneFile("q5_0.gguf"));
    assert.equal(fields.get("general.alignment"), 64);
    for (const { start } of tensors.values()) assert.equal(start % 64, 0);
  });

  test("omits vocabularies", () => {
    const { fields } = readGgufHeader(oneFile("t5.gguf"));
    assert.equal(fields.get("general.architecture"), "t5encoder");
    assert.equal(fields.get("tokenizer.ggml.tokens"), "");
  });

  test("takes the shape that ComfyUI's converter noted", () => {
    const made = header(1, 1).text("comfy.gguf.orig_shape.a").u32(9).u32(5).u64(3).u32(2).u32(3).u32(4);
    const { tensors } = readGgufHeader(made.tensor("a", [24], 0, 0).data(96).write());
    assert.deepEqual(tensors.get("a")?.shape, [2, 3, 4]);
  });

  const refused: readonly (readonly [what: string, make: () => GgufWriter, message: RegExp])[] = [
    ["another format", () => new GgufWriter(folder()).u32(1).data(100), /this is not a GGUF file/],
    ["another version", () => header(0, 0, 1), /GGUF of version 1; versions 2 and 3 are read/],
    ["more tensors than there can be", () => header(2n ** 60n), /announces|too large/],
    ["more fields than there can be", () => header(0, 1_000_000), /announces 1000000 fields/],
    ["a long name", () => header(1).u64(5000), /the name of a tensor has 5000 bytes/],
    ["a name that is no text", () => header(1).text(Buffer.from([0xff, 0xfe])), /is not UTF-8/],
    [
      "nested lists",
      () => header(0, 1).text("a").u32(9).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1),
      /nested too deeply/,
    ],
    [
      "a long list",
      () =>
        header(0, 1)
          .text("a")
          .u32(9)
          .u32(4)
          .u64(2n ** 40n),
      /announces \d+ items/,
    ],
    [
      "an unknown type of field",
      () => header(0, 1).text("a").u32(77),
      /has the type 77, which does not exist/,
    ],
    ["a truth value of 7", () => header(0, 1).text("a").u32(7).data(0, 1).u32(7), /neither 0 nor 1/],
    ["two fields of one name", () => header(0, 2).text("a").u32(4).u32(1).text("a"), /"a" occurs twice/],
    [
      "an odd alignment",
      () => header(0, 1).text("general.alignment").u32(4).u32(33),
      /expected a power of two/,
    ],
    [
      "an alignment that is no number",
      () => header(0, 1).text("general.alignment").u32(6).u32(0x7fc00000),
      /general\.alignment is null; expected a power of two/,
    ],
    [
      "a fractional alignment",
      () => header(0, 1).text("general.alignment").u32(6).u32(0x41080000),
      /general\.alignment is 8\.5; expected a power of two/,
    ],
    ["many axes", () => header(1).text("a").u32(9), /has 9 axes/],
    ["an axis of 0", () => header(1).tensor("a", [0], 0, 0), /has the shape \[0\]/],
    ["an endless axis", () => header(1).tensor("a", [2n ** 40n], 0, 0), /has the shape \[1099511627776\]/],
    ["too many values", () => header(1).tensor("a", [2 ** 31 - 1, 2 ** 31 - 1], 0, 0), /is too large/],
    ["an unread type", () => header(1).tensor("a", [32], 20, 0), /has the type IQ4_NL, which is not read/],
    ["an unknown type", () => header(1).tensor("a", [32], 99, 0), /has the type 99, which does not exist/],
    ["half a block", () => header(1).tensor("a", [48], 2, 0), /rows of 48 values, which Q4_0 cannot divide/],
    ["a gap", () => header(1).tensor("a", [8], 0, 32).data(100), /begins at byte 32 of the data, expected 0/],
    [
      "an overlap",
      () => header(2).tensor("a", [16], 0, 0).tensor("b", [8], 0, 32).data(128),
      /begins at byte 32 of the data, expected 64/,
    ],
    [
      "two tensors of one name",
      () => header(2).tensor("a", [8], 0, 0).tensor("a", [8], 0, 32).data(96),
      /"a" occurs twice/,
    ],
    [
      "too few bytes",
      () => header(1).tensor("a", [8], 0, 0).data(31),
      /the file has \d+ bytes; it is truncated/,
    ],
    [
      "too many bytes",
      () => header(1).tensor("a", [8], 0, 0).data(64),
      /the last 32 bytes belong to no tensor/,
    ],
    [
      "a contradictory original shape",
      () =>
        header(1, 1)
          .text("comfy.gguf.orig_shape.a")
          .u32(9)
          .u32(5)
          .u64(1)
          .u32(7)
          .tensor("a", [8], 0, 0)
          .data(32),
      /has 8 values, but its original shape is \[7\]/,
    ],
  ];
  for (const [what, make, message] of refused)
    test(`is refused with ${what}`, () => {
      const path = make().write();
      assert.throws(() => readGgufHeader(path), modelError(message));
    });

  test("is refused at whatever byte the file ends: 300 of them", () => {
    const whole = readFileSync(oneFile("t5.gguf"));
    const path = join(folder(), "cut.gguf");
    for (let i = 0; i < 300; i++) {
      writeFileSync(path, whole.subarray(0, Math.floor((i / 300) * (whole.length - 32))));
      assert.throws(() => readGgufHeader(path), ModelError);
    }
  });

  test("is refused with any damaged number about a tensor: 500 of them", () => {
    const whole = readFileSync(oneFile("q4_1.gguf"));
    const path = join(folder(), "damaged.gguf");
    const names = Object.keys(expectedOf.sha256.q4_1!).length;
    assert.ok(names > 0);
    // Behind each name: the axes, their sizes, the type, the offset.
    const places = [...readGgufHeader(oneFile("q4_1.gguf")).tensors].flatMap(([name, { shape }]) => {
      const at = whole.indexOf(Buffer.concat([lengthOf(name), Buffer.from(name)])) + 8 + name.length;
      return Array.from({ length: 4 + 8 * shape.length + 12 }, (_, i) => at + i);
    });
    let state = 7;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * below);
    };
    for (let i = 0; i < 500; i++) {
      const bytes = Buffer.from(whole);
      const at = places[random(places.length)]!;
      bytes[at] = (bytes[at]! + 1 + random(255)) % 256;
      writeFileSync(path, bytes);
      assert.throws(() => readGgufHeader(path), ModelError, `byte ${at} as ${bytes[at]}`);
    }
  });
});

function lengthOf(name: string): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(name.length));
  return bytes;
}
