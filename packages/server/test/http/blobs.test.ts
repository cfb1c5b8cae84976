import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import sharp from "sharp";
import type { BlobObject } from "../../src/contract/index.js";
import { depthMap } from "../support/pictures.js";
import { withClaimedSize } from "../support/png.js";
import { errorOf, TestServer } from "../support/server.js";

const server = await TestServer.start();
const post = (body: Uint8Array | string, type?: string) =>
  server.fetch("/v1/blobs", {
    method: "POST",
    body,
    headers: type === undefined ? {} : { "content-type": type },
  });
const picture = sharp({ create: { width: 48, height: 32, channels: 3, background: "teal" } });

/** Bytes without a pattern. */
const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7919) % 251);

const animation = await sharp(noise(20 * 40 * 3), {
  raw: { width: 20, height: 40, channels: 3, pageHeight: 20 },
})
  .gif()
  .toBuffer();
const whole = await picture.clone().png().toBuffer();
const cases: [what: string, bytes: Uint8Array | string, message: RegExp][] = [
  [
    "SVG",
    '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50"><rect width="9" height="9"/></svg>',
    /drawing/,
  ],
  ["HTML", "<!doctype html><script>alert(1)</script>", /not an image/],
  ["HTML in front of a picture", Buffer.concat([Buffer.from("<html><!--"), whole]), /not an image/],
  ["PDF", "%PDF-1.7\n%\u00e2\u00e3", /drawing/],
  ["HEIC", "\0\0\0\u0018ftypheic\0\0\0\0mif1heic", /save it as JPEG/],
  ["a text", "hello", /not an image/],
  ["a PNG that is cut off", whole.subarray(0, whole.length - 60), /^The picture\b.*(damaged|cut off)/],
  [
    "a JPEG that is cut off",
    (await picture.clone().resize(400, 400).jpeg().toBuffer()).subarray(0, 400),
    /damaged|cut off/,
  ],
  ["an animation", animation, /animated|several/],
  ["a picture of 8 × 8 pixels", await picture.clone().resize(8, 8).png().toBuffer(), /at least 16/],
];

describe("an uploaded picture", () => {
  test("is named by its content, with its type and size", async () => {
    const response = await post(depthMap, "image/png");
    const sha256 = createHash("sha256").update(depthMap).digest("hex");
    const { width, height } = await sharp(depthMap).metadata();
    assert.equal(response.status, 201);
    assert.deepEqual(await response.json(), {
      id: `sha256-${sha256}`,
      mime: "image/png",
      width,
      height,
      bytes: depthMap.length,
    });
  });

  test("answers 200 if it exists already", async () => {
    await post(depthMap);
    assert.equal((await post(depthMap)).status, 200);
  });

  for (const format of ["png", "jpeg", "webp", "avif", "tiff", "gif"] as const)
    test(`may be ${format}, whatever its Content-Type says`, async () => {
      const bytes = await picture.clone().toFormat(format).toBuffer();
      for (const type of [undefined, "application/octet-stream", "text/html", "application/json"]) {
        const blob = (await (await post(bytes, type)).json()) as BlobObject;
        assert.deepEqual([blob.mime, blob.width, blob.height], [`image/${format}`, 48, 32]);
      }
    });

  test("has the size of an upright one", async () => {
    const bytes = await picture.clone().jpeg().withMetadata({ orientation: 6 }).toBuffer();
    const blob = (await (await post(bytes)).json()) as BlobObject;
    assert.deepEqual([blob.width, blob.height], [32, 48]);
  });

  test("comes back as it was sent, to be kept for ever", async () => {
    const { id } = (await (await post(depthMap)).json()) as BlobObject;
    const response = await server.fetch(`/v1/blobs/${id}`);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), depthMap);
    assert.equal(response.headers.get("content-type"), "image/png");
    assert.match(response.headers.get("cache-control")!, /immutable/);
    const again = await server.fetch(`/v1/blobs/${id}`, {
      headers: { "if-none-match": response.headers.get("etag")! },
    });
    assert.equal(again.status, 304);
  });

  test("has its luminance as floats, with all 16 bits", async () => {
    const levels = Uint16Array.from({ length: 32 * 20 }, (_, i) => i * 100);
    const bytes = await sharp(levels, { raw: { width: 32, height: 20, channels: 1 } })
      .toColourspace("grey16")
      .png()
      .toBuffer();
    const { id } = (await (await post(bytes)).json()) as BlobObject;
    const response = await server.fetch(`/v1/blobs/${id}/map`);
    const npy = Buffer.from(await response.arrayBuffer());
    const start = 10 + npy.readUInt16LE(8);
    assert.match(npy.toString("latin1", 0, start), /\(20, 32\)/);
    for (const [i, level] of levels.entries())
      assert.ok(Math.abs(npy.readFloatLE(start + 4 * i) - level / 65535) < 1e-7);
  });
});

for (const id of ["nonsense", `sha256-${"0".repeat(64)}`])
  test(`that ${id.slice(0, 8)} is missing is not kept`, async () => {
    const response = await server.fetch(`/v1/blobs/${id}`);
    assert.deepEqual([response.status, response.headers.get("cache-control")], [404, null]);
  });

test("a picture without relief has no map", async () => {
  const bytes = await picture.clone().png().toBuffer();
  const { id } = (await (await post(bytes)).json()) as BlobObject;
  const { status, error } = await errorOf(await server.fetch(`/v1/blobs/${id}/map`));
  assert.deepEqual([status, error.code], [400, "invalid_image"]);
});

describe("an upload is refused", () => {
  for (const [what, bytes, message] of cases)
    test(`for ${what}`, async () => {
      const { status, headers, error } = await errorOf(await post(bytes));
      assert.equal(status, 415, error.message);
      assert.match(error.message, message);
      assert.equal(headers.get("x-should-retry"), "false");
    });

  test("when it is empty", async () => {
    assert.equal((await errorOf(await post(""))).status, 400);
  });

  test("with 413 for more than 64 MiB, whether it says so or not", async () => {
    const bytes = new Uint8Array(65 * 2 ** 20);
    bytes.set(whole);
    assert.equal((await errorOf(await post(bytes))).status, 413);
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    const response = await server.fetch("/v1/blobs", { method: "POST", body, duplex: "half" } as RequestInit);
    assert.equal((await errorOf(response)).status, 413);
  });

  test("with 413 for more than 100 megapixels, without decoding them", async () => {
    const { status, error } = await errorOf(await post(withClaimedSize(whole, 20_000, 6000)));
    assert.equal(status, 413, error.message);
  });
});
