import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DepthWork } from "../../src/engine/depth-work.js";
import { ModelError } from "../../src/errors.js";
import { load } from "../support/engine.js";
import { at } from "../support/tensors.js";

test("an estimator whose folder has been deleted is looked for again", async () => {
  const depthModel = mkdtempSync(join(tmpdir(), "mflux-depth-work-"));
  cpSync(at("test/golden/depth_anything"), depthModel, { recursive: true });
  const work = new DepthWork();
  const { signal } = new AbortController();
  const job = { load: { ...load, depthModel }, photo: new Uint8Array() };
  const estimator = await work.estimatorOf(job, signal);
  assert.equal(await work.estimatorOf(job, signal), estimator);
  rmSync(depthModel, { recursive: true });
  await assert.rejects(work.estimatorOf(job, signal), ModelError);
});
