import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { modelOf } from "../../src/inputs/model.js";

const defaultModel = "black-forest-labs/FLUX.1-Depth-dev";
const all = { path: "v2", variant: "fp16", allow_patterns: ["*.json"], ignore_patterns: ["*.bin", "x"] };

describe("a model is read from", () => {
  const forms: [string, unknown, unknown][] = [
    ["nothing, as the default", undefined, defaultModel],
    ["null, as the default", null, defaultModel],
    ["a blank text, as the default", "", defaultModel],
    ["an empty value, as the default", {}, defaultModel],
    ["a value without a repository, as the default", { type: "hf.flux_depth", repo_id: "" }, defaultModel],
    [
      "a repository",
      { type: "hf.flux_depth", repo_id: "tiny-world", path: null, variant: null },
      "tiny-world",
    ],
    ["its older type name", { type: "hf.depth_generation", repo_id: "me/mine" }, "me/mine"],
    ["a name", "me/mine", "me/mine"],
    ["a folder of this machine", { repo_id: "", path: "/models/mine" }, "/models/mine"],
    [
      "a repository with unset fields",
      { repo_id: "me/mine", path: null, variant: "", allow_patterns: null, ignore_patterns: [] },
      "me/mine",
    ],
    [
      "a repository with all fields",
      { type: "hf.flux_depth", repo_id: "me/mine", ...all },
      { repo_id: "me/mine", ...all },
    ],
    [
      "a folder with a variant",
      { path: "/models/mine", variant: "fp16" },
      { repo_id: "/models/mine", variant: "fp16" },
    ],
    [
      "a pattern without a list",
      { repo_id: "me/mine", allow_patterns: "*.json" },
      { repo_id: "me/mine", allow_patterns: ["*.json"] },
    ],
  ];
  for (const [what, value, model] of forms)
    test(what, () => {
      assert.deepEqual(modelOf(value), model);
    });
});

describe("a model is refused for", () => {
  const refused: [string, unknown, RegExp][] = [
    ["a number", 12, /^model must be a model/],
    ["a repository that is not a string", { repo_id: 12 }, /^model\.repo_id must be a string/],
    ["a variant that is not a string", { repo_id: "a/b", variant: 16 }, /^model\.variant must be a string/],
    ["a path that is not a string", { repo_id: "a/b", path: ["x"] }, /^model\.path must be a string/],
    [
      "patterns that are not strings",
      { repo_id: "a/b", allow_patterns: [1] },
      /^model\.allow_patterns must be a list of strings/,
    ],
    [
      "patterns that are not a list",
      { repo_id: "a/b", ignore_patterns: {} },
      /^model\.ignore_patterns must be a list of strings/,
    ],
  ];
  for (const [what, value, message] of refused)
    test(what, () => {
      assert.throws(
        () => modelOf(value),
        (error) => error instanceof OptionError && error.option === "model" && message.test(error.message),
      );
    });
});
