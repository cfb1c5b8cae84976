import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryError } from "../../src/errors.js";
import { type EncodedImage, requireDecodable } from "../../src/images/encoded.js";

const photo: EncodedImage = {
  input: "a.png",
  byteLength: 1e6,
  name: "a.png",
  role: "photo",
  format: "png",
  width: 5000,
  height: 4000,
  deep: false,
  isProgressive: true,
  exif: undefined,
  pixelBytes: 3,
  decoderBytes: 60e6,
};

test("requireDecodable refuses an image that does not fit in the free memory", {
  skip: process.platform === "darwin" && "macOS has no figure to replace",
}, (t) => {
  t.mock.method(process, "availableMemory", () => 1e8);
  assert.throws(
    () => requireDecodable(photo),
    (error) => {
      assert.ok(error instanceof MemoryError, String(error));
      // 20 million pixels of 3 bytes decoded and 12 bytes in a raster, and the decoder's own.
      assert.deepEqual([error.needed, error.available], [20e6 * 15 + 60e6, 1e8]);
      assert.match(
        error.message,
        /^a\.png: decoding 5000 × 4000 pixels needs about 360\.0 MB, and 100\.0 MB is free/,
      );
      return true;
    },
  );
});
