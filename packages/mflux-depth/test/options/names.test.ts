import assert from "node:assert/strict";
import { test } from "node:test";
import { toJsonName, toOptionName, toOptionNames } from "../../src/options/names.js";

test("names change between camelCase and snake_case", () => {
  assert.deepEqual(["depthImage", "textEncoder2", "int8"].map(toJsonName), [
    "depth_image",
    "text_encoder2",
    "int8",
  ]);
  assert.deepEqual(["depth_image", "text_encoder2", "int8"].map(toOptionName), [
    "depthImage",
    "textEncoder2",
    "int8",
  ]);
});

test("values keep their place when their names change", () =>
  assert.deepEqual(toOptionNames({ depth_image: 1, int8: null }), { depthImage: 1, int8: null }));
