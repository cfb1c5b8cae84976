import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bufferCacheFor } from "../../src/memory/buffer-cache.js";
import { onMachineWith } from "../support/tiny-world.js";

describe("MLX's cache of freed buffers", () => {
  test("is not changed on a GPU", () => assert.equal(bufferCacheFor("gpu", undefined), null));

  test("keeps a twelfth of a small machine's memory while denoising", () =>
    onMachineWith(12, async () => {
      assert.deepEqual(bufferCacheFor("cpu", undefined), {
        stepping: 1e9,
        quantizing: 3e8,
        estimating: 5e8,
      });
    }));

  test("keeps 2 GB of a large machine's memory while denoising", () =>
    onMachineWith(256, async () => assert.equal(bufferCacheFor("cpu", undefined)?.stepping, 2e9)));

  test("never exceeds the user's limit", () =>
    assert.deepEqual(bufferCacheFor("cpu", 5e6), {
      stepping: 5e6,
      quantizing: 5e6,
      estimating: 5e6,
    }));
});
