import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadSafetensors } from "@mflux-depth/mlx";
import type { DepthEstimator } from "../../src/depth/estimator.js";
import { compareDepth } from "../../src/depth/fidelity.js";
import { openEstimator } from "../../src/depth/open.js";
import { readDepthMap } from "../../src/images/decode.js";
import { at, relativeError, values } from "../support/tensors.js";

const example = (name: string): string => at(`../../examples/images/${name}`);

describe("the bundled Depth Anything", () => {
  let estimator: DepthEstimator;
  before(async () => {
    estimator = await openEstimator({ depthModel: "tiny-depth-anything", depthQuantize: "none" });
  });
  after(() => estimator.free());

  test("predicts what transformers predicts, within 2e-5", async () => {
    const golden = loadSafetensors(at("test/golden/tiny_depth_anything.safetensors")).arrays;
    const { prediction } = await estimator.estimate(example("astronaut.jpg"));
    const error = relativeError(prediction.data, values(golden.get("depth_0")!));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("finds the layout of rendered scenes", async () => {
    for (const scene of ["cube", "portrait", "room"]) {
      const { inverseDepth } = await estimator.estimate(example(`${scene}.png`));
      const map = await readDepthMap(example(`${scene}_depth.png`));
      const { correlation } = compareDepth(map, inverseDepth, map);
      assert.ok(correlation > 0.9, `${scene}: ${correlation}`);
    }
  });
});
