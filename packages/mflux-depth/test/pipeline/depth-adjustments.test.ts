import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { adjustedMap } from "../../src/depth/adjustments.js";
import { lanczos, resize } from "../../src/images/resample.js";
import type { FluxDepth, GenerateOptions } from "../../src/index.js";
import { drawn, largestDifference } from "../support/images.js";
import { exampleImage, loadTinyWorld, smallRequest } from "../support/tiny-world.js";

const adjustments = { depthNear: 90, depthFar: 20, depthGamma: 0.7, invertDepth: true };
const asMap = { near: 90, far: 20, gamma: 0.7, invert: true };

/** A map of another size than the image, whose levels span a part of the range. */
const map = drawn(40, 50, (x, y) => Math.fround(0.2 + (x + y) / 200));
const { width, height } = smallRequest as { width: number; height: number };

describe("adjustments of a request's depth map", () => {
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld();
  });
  after(() => flux.dispose());

  const generate = (request: Partial<GenerateOptions>) =>
    flux.generate({ ...smallRequest, steps: 1, trustDepth: true, ...request });

  test("apply to a given map before it is resized", async () => {
    const { depthMap } = await generate({ depthImage: map, ...adjustments });
    const expected = resize(adjustedMap(map, "map", asMap), width, height, lanczos).data.map((v) =>
      Math.min(Math.max(v, 0), 1),
    );
    assert.ok(largestDifference(depthMap.data, expected) < 1e-6);
  });

  test("do not change the levels of a given map at their defaults", async () => {
    const { depthMap } = await generate({ depthImage: map });
    const { data } = resize(map, width, height, lanczos);
    assert.ok(largestDifference(depthMap.data, data) < 1e-6);
    assert.ok(depthMap.data.every((v) => v > 0.15 && v < 0.7));
  });

  test("apply to an estimated map like those of the depth command", async () => {
    const photo = exampleImage("portrait.png");
    const { depthMap } = await generate({ image: photo, depthImage: null, ...adjustments });
    const estimate = await flux.estimateDepth(photo, { fieldOfView: false });
    assert.ok(largestDifference(depthMap.data, estimate.map(width, height, asMap).data) < 1e-6);
    assert.ok(largestDifference(depthMap.data, estimate.map(width, height).data) > 0.5);
  });

  test("are part of the parameters", async () => {
    const { metadata } = await generate({ depthImage: map, ...adjustments });
    const { depth_near, depth_far, depth_gamma, depth_inverted } = metadata;
    assert.deepEqual([depth_near, depth_far, depth_gamma, depth_inverted], [90, 20, 0.7, true]);
  });
});
