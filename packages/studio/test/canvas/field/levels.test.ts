import assert from "node:assert/strict";
import { test } from "node:test";
import { requestOptions } from "mflux-depth/options";
import { gammaLimits, neutralLevels } from "../../../src/canvas/field/levels.js";

test("the levels have the defaults and ranges of the options", () => {
  const { depthNear, depthFar, depthGamma, invertDepth } = requestOptions;
  assert.deepEqual(neutralLevels, {
    near: depthNear.default,
    far: depthFar.default,
    gamma: depthGamma.default,
    invert: invertDepth.default,
  });
  assert.deepEqual(gammaLimits, { min: depthGamma.kind.min, max: depthGamma.kind.max });
});
