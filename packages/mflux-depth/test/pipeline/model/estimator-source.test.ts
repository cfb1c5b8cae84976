import assert from "node:assert/strict";
import { test } from "node:test";
import type { Checkpoint, GenerateOptions } from "../../../src/index.js";
import { collect, exampleImage, loadTinyWorld } from "../../support/tiny-world.js";

const request: GenerateOptions = {
  prompt: "a red cube",
  image: exampleImage("cube.png"),
  width: 64,
  height: 64,
  steps: 2,
  seed: 7,
};

test("the parameters name the estimator of the map that a generation continues with", async () => {
  using first = await loadTinyWorld();
  const { steps, result } = await collect(first.steps({ ...request, withLatents: true }));
  const { index: step, latents, depthMap } = steps[0]!;
  const resume: Checkpoint = { step, latents: latents!, depthMap };
  using second = await loadTinyWorld();
  const resumed = await collect(second.steps({ ...request, resume }));
  assert.equal(result.metadata.depth_model, "tiny-world");
  assert.equal(resumed.result.metadata.depth_model, "tiny-world");
});
