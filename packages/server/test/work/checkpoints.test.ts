import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { type Checkpoint, Checkpoints } from "../../src/work/checkpoints.js";
import { newReserve, temporaryFolder } from "../support/folder.js";

const checkpoint = (step: number, facts: Partial<Checkpoint> = {}): Checkpoint => ({
  step,
  fingerprint: "machine",
  latents: { data: Float32Array.from([step, Math.PI, -0, 1e-40]), shape: [1, 1, 2, 2] },
  depthMap: null,
  ...facts,
});

const depthMap = { data: Float32Array.from([0, 0.25]), width: 2, height: 1 };

const newCheckpoints = (t: TestContext, folder = temporaryFolder(t)): Checkpoints =>
  new Checkpoints(folder, newReserve(t));

describe("checkpoints", () => {
  test("come back to the last bit", async (t) => {
    const checkpoints = newCheckpoints(t);
    const saved = checkpoint(2, { depthMap });
    await checkpoints.save("job", 1, saved);
    assert.deepEqual(await checkpoints.latest("job"), saved);
  });

  test("replace the one before, and keep its depth map", async (t) => {
    const checkpoints = newCheckpoints(t);
    await checkpoints.save("job", 1, checkpoint(2, { depthMap }));
    await checkpoints.save("job", 1, checkpoint(4));
    assert.deepEqual(await checkpoints.latest("job"), checkpoint(4, { depthMap }));
  });

  test("of the latest attempt count, whatever an old one still writes", async (t) => {
    const checkpoints = newCheckpoints(t);
    await checkpoints.save("job", 10, checkpoint(6));
    await checkpoints.save("job", 9, checkpoint(8));
    assert.equal((await checkpoints.latest("job"))?.step, 6);
  });

  for (const [what, damage] of [
    ["cut off", (file: Buffer) => file.subarray(0, -3)],
    ["changed", (file: Buffer) => Buffer.concat([file.subarray(0, -1), Buffer.from([0xff])])],
    ["empty", () => Buffer.alloc(0)],
  ] as const)
    test(`that are ${what} are passed over for those of an earlier attempt`, async (t) => {
      const folder = temporaryFolder(t);
      const checkpoints = newCheckpoints(t, folder);
      await checkpoints.save("job", 1, checkpoint(2));
      await checkpoints.save("job", 2, checkpoint(4));
      const path = join(folder, "job.2.latents");
      writeFileSync(path, damage(readFileSync(path)));
      assert.equal((await checkpoints.latest("job"))?.step, 2);
    });

  test("of one job are not another's", async (t) => {
    const checkpoints = newCheckpoints(t);
    await checkpoints.save("job1", 1, checkpoint(2));
    assert.equal(await checkpoints.latest("job"), null);
  });

  test("are deleted with their job, half-written ones included", async (t) => {
    const folder = temporaryFolder(t);
    const checkpoints = newCheckpoints(t, folder);
    await checkpoints.save("a", 1, checkpoint(2, { depthMap }));
    await checkpoints.save("b", 1, checkpoint(2));
    writeFileSync(join(folder, "a.2.latents.new"), "half");
    await checkpoints.remove("a");
    assert.deepEqual(readdirSync(folder), ["b.1.latents"]);
    await checkpoints.keepOnly(() => false);
    assert.deepEqual(readdirSync(folder), []);
  });
});
