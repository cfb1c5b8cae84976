import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { adjustedMap } from "../../src/depth/adjustments.js";
import { looksInverted, polarityWarning } from "../../src/depth/polarity.js";
import { readDepthMap } from "../../src/images/decode.js";
import { drawn } from "../support/images.js";
import { at } from "../support/tensors.js";

const example = (name: string): string => at(`../../examples/images/${name}_depth.png`);
const inverted = async (name: string) =>
  adjustedMap(await readDepthMap(example(name)), name, { invert: true });

test("looksInverted also judges maps that are smaller than its working size", () => {
  /** A floor that comes nearer, and a post in the middle. */
  const scene = drawn(12, 9, (x, y) => Math.max(Math.abs(x - 5.5) < 2 ? 0.8 : 0, y / 9));
  assert.equal(looksInverted(scene), false);
  assert.equal(looksInverted({ ...scene, data: scene.data.map((value) => 1 - value) }), true);
});

describe("polarityWarning without a photo", () => {
  for (const name of ["portrait", "sculpture", "cube", "shapes", "mountains"]) {
    test(`accepts the map of ${name}`, async () => {
      assert.equal(polarityWarning(await readDepthMap(example(name)), "map.png"), null);
    });
    test(`notices that the map of ${name} is inverted`, async () => {
      const warning = polarityWarning(await inverted(name), "map.png");
      assert.match(
        warning!.message,
        /^map\.png looks inverted: it is brighter at its borders than in the middle\.$/,
      );
    });
  }
});

describe("polarityWarning with the photo's depth", () => {
  // A room comes nearer towards its borders: only the photo can tell.
  const inferred = drawn(40, 30, (x, y) => Math.max(Math.abs(x - 20) / 20, Math.abs(y - 15) / 15));

  test("accepts a map that agrees", async () => {
    assert.equal(polarityWarning(await readDepthMap(example("room")), "map.png", { inferred }), null);
  });

  test("suggests invertDepth for a map that disagrees", async () => {
    const warning = polarityWarning(await inverted("room"), "map.png", { inferred });
    assert.match(warning!.message, /disagrees with the photo's depth/);
    assert.deepEqual(warning!.remedies, [
      { kind: "set-option", option: "invertDepth", value: true, condition: "white means far in this file" },
    ]);
  });

  test("suggests omitting invertDepth if it was given", async () => {
    const warning = polarityWarning(await inverted("room"), "map.png", { inferred, exchanged: true });
    assert.deepEqual(warning!.remedies, [
      { kind: "omit-option", option: "invertDepth", condition: "white means near in this file" },
    ]);
  });
});
