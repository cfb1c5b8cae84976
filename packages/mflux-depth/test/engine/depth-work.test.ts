import assert from "node:assert/strict";
import { test } from "node:test";
import { DepthWork } from "../../src/engine/depth-work.js";

test("an estimate for a server keeps no more freed buffers than the user allows", async () => {
  const work = new DepthWork();
  const bytesWith = async (cacheLimitGb: number): Promise<number> => {
    const load = { model: "tiny-world", device: "cpu", offline: true, cacheLimitGb } as const;
    const job = { load, photo: new Uint8Array() };
    const estimator = await work.estimatorOf(job, new AbortController().signal);
    return estimator.workingMemory();
  };
  assert.equal((await bytesWith(2e-3)) - (await bytesWith(1e-3)), 1e6);
});
