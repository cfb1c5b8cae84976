import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bodyOfCheckpoint, checkpointOfBody } from "../../src/fleet/checkpoint-body.js";
import type { Checkpoint } from "../../src/work/checkpoints.js";

const checkpoint: Checkpoint = {
  step: 4,
  fingerprint: "of everything",
  latents: { shape: [1, 2, 2, 1], data: Float32Array.from([1, -2.5, 1e-30, Number.MAX_VALUE]) },
  depthMap: { width: 3, height: 1, data: Float32Array.from([0, 0.5, 1]) },
};

describe("a checkpoint as a body", () => {
  test("comes back as it was, with a depth map and without", () => {
    assert.deepEqual(checkpointOfBody(bodyOfCheckpoint(checkpoint)), checkpoint);
    const bare = { ...checkpoint, depthMap: null };
    assert.deepEqual(checkpointOfBody(bodyOfCheckpoint(bare)), bare);
  });

  test("is refused unless it is whole", () => {
    const body = bodyOfCheckpoint(checkpoint);
    for (const damaged of [body.subarray(0, -1), body.subarray(0, 5), new Uint8Array(0), Buffer.from("{}\n")])
      assert.throws(() => checkpointOfBody(damaged), RangeError);
  });
});
