import assert from "node:assert/strict";
import { test } from "node:test";
import { estimatorOptionsOf } from "../../src/depth/options.js";
import { resolveLoadOptions } from "../../src/options/index.js";

test("the depth estimator's options exclude those of the model, where to compute, and offline", () => {
  const found = estimatorOptionsOf(
    resolveLoadOptions({ depthQuantize: 8, device: "cpu", offline: true, quantize: 8 }),
  );
  assert.equal(found.depthQuantize, 8);
  for (const other of ["device", "offline", "quantize"]) assert.ok(!(other in found), other);
});
