import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { neutralLevels } from "../../../src/canvas/field/levels.js";
import { encodeDepth, encodePng16 } from "../../../src/canvas/field/png16.js";
import { statisticsOf } from "../../../src/canvas/field/statistics.js";
import { fieldOf, random } from "../support/fields.js";

/** The grey values that another decoder finds. */
async function decoded(file: Blob): Promise<{ width: number; height: number; values: Uint16Array }> {
  const { data, info } = await sharp(Buffer.from(await file.arrayBuffer()))
    .toColourspace("grey16")
    .raw({ depth: "ushort" })
    .toBuffer({ resolveWithObject: true });
  assert.equal(info.channels, 1);
  return {
    width: info.width,
    height: info.height,
    values: new Uint16Array(data.buffer, data.byteOffset, data.length / 2),
  };
}

test("every grey of 16 bits comes back from another decoder", async () => {
  const { width, height, values } = await decoded(await encodePng16(256, 256, (i) => i / 65535));
  assert.deepEqual([width, height], [256, 256]);
  assert.deepEqual(
    values,
    Uint16Array.from({ length: 65536 }, (_, i) => i),
  );
});

test("noise of an odd size comes back", async () => {
  const next = random(5);
  const values = Float32Array.from({ length: 37 * 23 }, next);
  const file = await encodePng16(37, 23, (i) => values[i]!);
  assert.equal(file.type, "image/png");
  const back = await decoded(file);
  assert.deepEqual(
    back.values,
    Uint16Array.from(values, (value) => Math.round(value * 65535)),
  );
});

test("a map is encoded with its levels applied", async () => {
  const field = fieldOf(5, 1, (x) => x / 4);
  const file = await encodeDepth(field, statisticsOf(field), { near: 75, far: 25, gamma: 1, invert: true });
  assert.deepEqual([...(await decoded(file)).values], [65535, 65535, 32768, 0, 0]);
});

test("percentiles that are equal are refused", async () => {
  const field = fieldOf(4, 1, () => 0.5);
  await assert.rejects(
    encodeDepth(field, statisticsOf(field), { ...neutralLevels, far: 10 }),
    /farther apart/,
  );
});
