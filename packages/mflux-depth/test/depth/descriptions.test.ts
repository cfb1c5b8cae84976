import assert from "node:assert/strict";
import { test } from "node:test";
import { estimatorModels } from "../../src/depth/descriptions.js";
import { defaultDepthModel } from "../../src/options/defaults.js";

test("the default estimator has a licence and a size", () =>
  assert.ok(estimatorModels.some(({ repository }) => repository === defaultDepthModel)));
