import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import { stagesOf, usesOf } from "../../src/pipeline/recipe.js";
import type { Workload } from "../../src/pipeline/stage.js";

const fromMap: Workload = {
  width: 64,
  height: 64,
  textTokens: 64,
  estimatesDepth: false,
  startsFromPhoto: false,
  steps: 2,
  previews: null,
};

const namesOf = (changes: Partial<Workload>): string[] =>
  stagesOf({ ...fromMap, ...changes }).map(({ name }) => name);

describe("the stages of a workload", () => {
  test("are text, control, denoise and decode from a depth map", () => {
    assert.deepEqual(namesOf({}), ["text", "control", "denoise", "decode"]);
  });

  test("include depth if a photo's depth is estimated", () => {
    assert.deepEqual(namesOf({ estimatesDepth: true }), ["text", "depth", "control", "denoise", "decode"]);
  });

  test("include image if the generation starts from a photo", () => {
    assert.deepEqual(namesOf({ startsFromPhoto: true }), ["text", "control", "image", "denoise", "decode"]);
  });

  test("leave out text if there are no steps", () => {
    assert.deepEqual(namesOf({ startsFromPhoto: true, steps: 0 }), ["control", "image", "denoise", "decode"]);
  });

  const both = [false, true];
  for (const estimatesDepth of both)
    for (const startsFromPhoto of both)
      test(`make each artifact once, before it is read: depth ${estimatesDepth}, photo ${startsFromPhoto}`, () => {
        // The runner substitutes null for the artifacts of skipped stages.
        const made = new Set<string>(["estimate", "start"]);
        const makers: string[] = [];
        for (const { reads, makes } of stagesOf({ ...fromMap, estimatesDepth, startsFromPhoto })) {
          for (const name of reads) assert.ok(made.has(name), `${name} is read before it is made`);
          made.add(makes);
          makers.push(makes);
        }
        assert.equal(new Set(makers).size, makers.length);
      });
});

describe("the uses of components", () => {
  const usesIn = (name: string, changes: Partial<Workload> = {}) => {
    const workload = { ...fromMap, estimatesDepth: true, ...changes };
    return usesOf(stagesOf(workload).find((stage) => stage.name === name)!, workload, flux1Depth);
  };

  test("in the text stage are CLIP, then T5", () => {
    assert.deepEqual(usesIn("text"), [{ components: ["text_encoder"] }, { components: ["text_encoder_2"] }]);
  });

  test("in the denoise stage are the transformer", () => {
    assert.deepEqual(usesIn("denoise"), [{ components: ["transformer"] }]);
  });

  test("in the denoise stage with exact previews are the transformer together with the VAE", () => {
    assert.deepEqual(usesIn("denoise", { previews: "exact" }), [{ components: ["transformer", "vae"] }]);
    assert.deepEqual(usesIn("denoise", { previews: "fast" }), [{ components: ["transformer"] }]);
  });

  test("in the denoise stage without steps are none", () => {
    assert.deepEqual(usesIn("denoise", { startsFromPhoto: true, steps: 0 }), [{ components: [] }]);
  });

  test("in the depth stage are transient", () => {
    assert.deepEqual(usesIn("depth"), [{ components: ["estimator"], transient: true }]);
  });
});
