import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { judgeFor } from "../../src/depth/judge.js";

const depthAnything = "depth-anything/Depth-Anything-V2-Small-hf";

describe("the judge of an image", () => {
  for (const [what, parameters, judge] of [
    ["of unknown origin is Depth Anything", undefined, depthAnything],
    ["by a given map is Depth Anything", { model: "a/b", depth_model: null }, depthAnything],
    ["by Depth Pro's map is Depth Anything", { depth_model: "apple/DepthPro-hf" }, depthAnything],
    ["by Depth Anything's map is Depth Pro", { depth_model: depthAnything }, "apple/DepthPro-hf"],
    [
      "by the map of Depth Anything in a folder is Depth Pro",
      { depth_model: "/models/Depth-Anything-V2-Base-hf" },
      "apple/DepthPro-hf",
    ],
    [
      "by the map of the bundled Depth Anything is Depth Pro",
      { depth_model: "tiny-depth-anything" },
      "apple/DepthPro-hf",
    ],
    [
      "of tiny-world is the bundled Depth Anything",
      { model: "tiny-world", depth_model: "tiny-world" },
      "tiny-depth-anything",
    ],
    [
      "of tiny-world by the map of the bundled Depth Anything is its own estimator",
      { model: "tiny-world", depth_model: "tiny-depth-anything" },
      "tiny-world",
    ],
  ] as const)
    test(what, () => assert.equal(judgeFor(parameters), judge));
});
