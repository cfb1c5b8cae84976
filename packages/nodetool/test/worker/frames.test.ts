import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "@msgpack/msgpack";
import { pack, Unpackr } from "msgpackr";
import { decodeFrame, encodeFrame, FrameError } from "../../src/worker/frames.js";
import { FrameReader } from "../../src/worker/stdio.js";

const frame = (data: object) => ({ type: "execute", request_id: "r1", data });

test("a frame of the host's encoder is read, with undefined, bytes and numbers of every size", () => {
  const data = {
    undefined: undefined,
    null: null,
    bytes: new Uint8Array(70_000).fill(7),
    numbers: [0, -1, 127, 128, -33, 65_536, 4_294_967_295, 2 ** 40, -(2 ** 40), 10, 0.5],
    text: "ä".repeat(300),
    nested: { a: [{ b: [] }, {}] },
    yes: true,
  };
  const { undefined: nothing, bytes, ...rest } = decodeFrame(pack(frame(data))).data;
  assert.equal(nothing, undefined);
  assert.deepEqual([...(bytes as Uint8Array)], [...data.bytes]);
  const { undefined: _, bytes: __, ...expected } = data;
  assert.deepEqual(rest, expected);
});

test("the host's decoder reads our frames, without undefined values", () => {
  const unpackr = new Unpackr({ int64AsType: "number", mapsAsObjects: true });
  const blob = new Uint8Array(1000).fill(3);
  const sent = encodeFrame("result", "r1", { blobs: { output: blob }, none: undefined, null: null, x: 1.5 });
  const read = unpackr.unpack(Buffer.from(sent)) as Record<string, unknown>;
  assert.deepEqual(Object.keys(read), ["type", "request_id", "data"]);
  const data = read.data as Record<string, unknown>;
  assert.deepEqual(Object.keys(data), ["blobs", "null", "x"]);
  assert.deepEqual(Buffer.from((data.blobs as { output: Uint8Array }).output), Buffer.from(blob));
});

test("every truncation of a frame is an error, with the id if it is complete", () => {
  const whole = pack(frame({ fields: { prompt: "x", steps: 70_000 }, blobs: { image: new Uint8Array(40) } }));
  let found = 0;
  for (let end = 0; end < whole.byteLength; end++)
    assert.throws(
      () => decodeFrame(whole.subarray(0, end)),
      (error) => {
        assert.ok(error instanceof FrameError);
        if (error.requestId === "r1") found++;
        else assert.equal(error.requestId, null);
        return true;
      },
    );
  assert.ok(found > 40);
});

test("garbage is an error, however many elements it announces", () => {
  let state = 1;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
  for (let i = 0; i < 20_000; i++) {
    const bytes = Uint8Array.from({ length: 1 + (i % 64) }, random);
    assert.throws(() => decodeFrame(bytes), FrameError);
  }
  const bombs: [Uint8Array, RegExp][] = [
    [Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff), /cut off/],
    [Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff), /cut off/],
    [Uint8Array.of(0xc6, 0xff, 0xff, 0xff, 0xff), /cut off/],
    [Uint8Array.of(0xdb, 0x7f, 0xff, 0xff, 0xff), /cut off/],
    [Uint8Array.of(0xc9, 0xff, 0xff, 0xff, 0xff, 0x00), /cut off/],
    [new Uint8Array(1_000_000).fill(0x91), /too many elements/],
    [new Uint8Array(1_000_000).fill(0x81), /too many elements/],
    [Buffer.concat([Uint8Array.of(0xdd, 0, 0x0f, 0x42, 0x40), Buffer.alloc(1_000_000, 0x90)]), /too many/],
    // Each announces as many arrays as a frame may have elements.
    [Buffer.concat(Array.from({ length: 10_000 }, () => Uint8Array.of(0xdd, 0, 1, 0x86, 0xa0))), /cut off/],
  ];
  for (const [bomb, message] of bombs) {
    const started = performance.now();
    assert.throws(() => decodeFrame(bomb), { name: "FrameError", message });
    assert.ok(performance.now() - started < 500);
  }
});

test("MessagePack that is not a frame is an error", () => {
  for (const value of [
    null,
    7,
    "text",
    [],
    {},
    { type: "discover" },
    { request_id: "r" },
    { type: 1, request_id: "r" },
    { type: "x", request_id: "" },
    { type: "x", request_id: "r", data: [] },
    { type: "x", request_id: "r", data: new Uint8Array(2) },
  ])
    assert.throws(() => decodeFrame(encode(value)), FrameError, JSON.stringify(value));
  assert.deepEqual(decodeFrame(encode({ type: "x", request_id: "r" })).data, {});
  assert.deepEqual(decodeFrame(encode({ type: "x", request_id: "r", data: null })).data, {});
  const key = encode({ type: "x", request_id: "r", data: { ["__proto__"]: 1 } });
  assert.throws(() => decodeFrame(key), FrameError);
});

test("a stream is split into frames wherever its chunks end", () => {
  const frames = [Buffer.from("one"), Buffer.alloc(0), Buffer.from("three".repeat(100))];
  const stream = Buffer.concat(
    frames.flatMap((payload) => {
      const header = Buffer.alloc(4);
      header.writeUInt32BE(payload.byteLength);
      return [header, payload];
    }),
  );
  for (const size of [1, 2, 3, 5, 7, 64, 1000]) {
    const reader = new FrameReader(1000);
    const read: Buffer[] = [];
    for (let at = 0; at < stream.byteLength; at += size)
      for (const payload of reader.read(stream.subarray(at, at + size))) read.push(Buffer.from(payload));
    assert.deepEqual(read, frames);
    assert.equal(reader.pending, 0);
  }
});

test("a length above the limit ends the stream before its frame is stored", () => {
  const reader = new FrameReader(1000);
  assert.deepEqual([...reader.read(Buffer.from([0, 0, 3, 233, 1, 2, 3]))], []);
  assert.match(reader.refused!, /1001 bytes.*1000/);
  assert.deepEqual([...reader.read(Buffer.alloc(5000))], []);
});
