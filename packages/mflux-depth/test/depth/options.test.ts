import assert from "node:assert/strict";
import { test } from "node:test";
import { estimatorOptionsOf } from "../../src/depth/options.js";
import { resolveLoadOptions } from "../../src/options/index.js";

test("the depth estimator's options are those of the depth command, except where to compute and offline", () => {
  const options = resolveLoadOptions({ depthQuantize: 8, device: "cpu", offline: true, quantize: 8 });
  assert.deepEqual(estimatorOptionsOf(options), {
    depthModel: undefined,
    depthQuantize: 8,
    depthInt8: undefined,
  });
});
