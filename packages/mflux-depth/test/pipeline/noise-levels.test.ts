import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { resolveRequest } from "../../src/options/index.js";
import { warnIfPhotoIsUnused } from "../../src/pipeline/noise-levels.js";
import { Warnings } from "../../src/pipeline/warnings.js";

const both = { prompt: "a cube", image: "photo.png", depthImage: "map.png" };

const warningsAbout = (request: Parameters<typeof resolveRequest>[0]): readonly string[] => {
  const warnings = new Warnings([]);
  warnIfPhotoIsUnused({ request: resolveRequest(request), warnings });
  return warnings.messages;
};

describe("a photo to start from", () => {
  test("is reported if its strength is less than one step", () =>
    assert.deepEqual(warningsAbout({ ...both, steps: 3 }), [
      "The image does not start from the photo: an image strength of 0.3 is less than one of 3 steps. Set imageStrength to 0.34 to keep the number of steps. Set steps to 4 to keep the strength.",
    ]));

  test("is used with the values that the warning names", () => {
    for (const changed of [{ steps: 3, imageStrength: 0.34 }, { steps: 4 }])
      assert.deepEqual(warningsAbout({ ...both, ...changed }), []);
  });

  test("cannot be used with a single step, or with more steps than there may be", () => {
    assert.match(warningsAbout({ ...both, steps: 1 })[0]!, /1 step\. Set steps to 4 to keep the strength\.$/);
    assert.match(
      warningsAbout({ ...both, steps: 4, imageStrength: 0.01 })[0]!,
      /\. Set imageStrength to 0\.25 to keep the number of steps\.$/,
    );
  });

  test("is not reported if it only gives the depth, or surrounds a mask", () => {
    assert.deepEqual(warningsAbout({ ...both, steps: 1, imageStrength: 0 }), []);
    assert.deepEqual(warningsAbout({ ...both, steps: 1, maskImage: "mask.png" }), []);
  });
});
