import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type DepthPrediction, inverseDepth, metresOf } from "../../src/depth/prediction.js";

const values = Float32Array.of(0.5, 2, 4);
const prediction = (quantity: DepthPrediction["quantity"], data = values): DepthPrediction => ({
  data,
  width: data.length,
  height: 1,
  channels: 1,
  quantity,
  scale: "relative",
});

describe("inverseDepth", () => {
  test("is the prediction itself if that is inverse depth", () => {
    assert.deepEqual(inverseDepth(prediction("inverse-depth")).data, values);
  });

  test("is the reciprocal of depth", () => {
    assert.deepEqual(inverseDepth(prediction("depth")).data, Float32Array.of(2, 0.5, 0.25));
  });

  test("stays finite where depth is zero or infinite", () => {
    const { data } = inverseDepth(prediction("depth", Float32Array.of(0, Number.POSITIVE_INFINITY)));
    assert.deepEqual(data, Float32Array.of(1e4, 1e-4));
  });
});

describe("metresOf", () => {
  test("takes metric depth unchanged", () => {
    assert.deepEqual(metresOf(values, { quantity: "depth", scale: "metric" }, undefined), values);
  });

  test("takes the reciprocal of metric inverse depth", () => {
    const metres = metresOf(values, { quantity: "inverse-depth", scale: "metric" }, undefined);
    assert.deepEqual(metres, Float32Array.of(2, 0.5, 0.25));
  });

  test("scales canonical numbers with the focal length", () => {
    const canonical = { scale: "canonical" } as const;
    assert.deepEqual(metresOf(values, { ...canonical, quantity: "depth" }, 2), Float32Array.of(1, 4, 8));
    assert.deepEqual(
      metresOf(values, { ...canonical, quantity: "inverse-depth" }, 2),
      Float32Array.of(4, 1, 0.5),
    );
  });

  test("is unknown for canonical numbers without a focal length", () => {
    assert.equal(metresOf(values, { quantity: "depth", scale: "canonical" }, undefined), undefined);
  });

  test("is unknown for relative numbers", () => {
    assert.equal(metresOf(values, { quantity: "depth", scale: "relative" }, 1), undefined);
  });
});
