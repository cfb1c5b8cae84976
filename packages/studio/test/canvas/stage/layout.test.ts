import assert from "node:assert/strict";
import { test } from "node:test";
import { frameFor } from "../../../src/canvas/pictures/frame.js";
import { paneAt, panesOf } from "../../../src/canvas/stage/panes.js";
import { worldOf } from "../../../src/canvas/stage/world.js";

const stage = { width: 1008, height: 600 };
const photo = { width: 600, height: 400 };
const square = { width: 256, height: 256 };

test("one view fills the stage", () => {
  assert.deepEqual(panesOf("depth", null, stage, 0.5), [
    { view: "depth", x: 0, width: 1008, height: 600, from: 0, to: 1008 },
  ]);
});

test("a slider lays both views over the whole stage and divides what is visible", () => {
  const [left, right] = panesOf("result", { with: "photo", mode: "slider" }, stage, 0.25);
  assert.deepEqual(left, { view: "photo", x: 0, width: 1008, height: 600, from: 0, to: 252 });
  assert.deepEqual(right, { view: "result", x: 0, width: 1008, height: 600, from: 252, to: 1008 });
});

test("side by side, both views have the same size", () => {
  const [left, right] = panesOf("depth", { with: "photo", mode: "side" }, stage, 0.5);
  assert.deepEqual([left!.width, right!.width], [500, 500]);
  assert.deepEqual([left!.from, left!.to, right!.from, right!.to], [0, 500, 508, 1008]);
});

test("the pane under a point is the one that shows it", () => {
  const panes = panesOf("result", { with: "photo", mode: "slider" }, stage, 0.25);
  assert.equal(paneAt(panes, { x: 251, y: 0 }).view, "photo");
  assert.equal(paneAt(panes, { x: 253, y: 0 }).view, "result");
  assert.equal(paneAt(panes, { x: 5000, y: 0 }).view, "result");
});

test("a result of the photo's proportions, rounded to sixteens, covers it", () => {
  const { bounds, result } = worldOf(photo, { width: 1248, height: 832 }, null, ["result"]);
  assert.deepEqual(
    [bounds, result],
    [
      { x: 0, y: 0, ...photo },
      { x: 0, y: 0, ...photo },
    ],
  );
});

test("a result of different proportions is not stretched", () => {
  assert.deepEqual(worldOf(photo, square, null, ["photo", "result"]).result, {
    x: 100,
    y: 0,
    width: 400,
    height: 400,
  });
});

test("a result of a cropped photo lies over the part that was used", () => {
  const world = worldOf(photo, square, frameFor(photo, square, "crop"), ["photo", "result"]);
  assert.deepEqual(world.result, { x: 100, y: 0, width: 400, height: 400 });
  assert.deepEqual(world.bounds, { x: 0, y: 0, ...photo });
});

test("alone, a result of a cropped photo is seen whole", () => {
  const world = worldOf(photo, square, frameFor(photo, square, "crop"), ["result"]);
  assert.deepEqual(world.bounds, { x: 100, y: 0, width: 400, height: 400 });
});

test("a result of a padded photo reaches beyond it", () => {
  const frame = frameFor(photo, { width: 300, height: 300 }, "pad");
  const { bounds, picture } = worldOf(photo, square, frame, ["photo"]);
  assert.deepEqual(bounds, { x: 0, y: -100, width: 600, height: 600 });
  assert.deepEqual(picture, { x: 0, y: 0, ...photo });
});
