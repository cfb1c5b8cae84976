import assert from "node:assert/strict";
import { test } from "node:test";
import type { Brush } from "../../../src/canvas/brush/brush.js";
import { StrokeHistory } from "../../../src/canvas/brush/history.js";
import { DepthPainting } from "../../../src/canvas/brush/painting.js";
import { StrokePath } from "../../../src/canvas/brush/path.js";
import { fieldOf } from "../support/fields.js";

const brush: Brush = { tool: "raise", size: 24, hardness: 0.5, strength: 0.7, value: 0.9 };
const point = (x: number, y: number) => ({ x, y, pressure: 1 });
const slope = () => fieldOf(150, 100, (x, y) => (x + y) / 400);

function stroke(painting: DepthPainting, from: [number, number], to: [number, number]) {
  painting.begin(brush, point(...from));
  painting.move(point(...to));
  painting.end();
  return painting.field.values.slice();
}

test("undo and redo go back and forth between the states after each stroke", () => {
  const painting = new DepthPainting(slope());
  const states = [painting.field.values.slice()];
  states.push(stroke(painting, [10, 10], [140, 90]));
  states.push(stroke(painting, [140, 10], [10, 90]));
  states.push(stroke(painting, [70, 50], [75, 50]));
  for (const state of [states[2], states[1], states[0]]) {
    painting.undo();
    assert.deepEqual(painting.field.values, state);
  }
  assert.equal(painting.canUndo, false);
  for (const state of states.slice(1)) {
    painting.redo();
    assert.deepEqual(painting.field.values, state);
  }
  assert.equal(painting.canRedo, false);
});

test("a stroke after undo takes the place of what was undone", () => {
  const painting = new DepthPainting(slope());
  stroke(painting, [10, 10], [50, 50]);
  painting.undo();
  const state = stroke(painting, [100, 80], [120, 80]);
  assert.equal(painting.canRedo, false);
  painting.redo();
  assert.deepEqual(painting.field.values, state);
});

test("an abandoned stroke leaves nothing behind", () => {
  const field = slope();
  const painting = new DepthPainting(field);
  const before = field.values.slice();
  painting.begin(brush, point(50, 50));
  painting.move(point(90, 60));
  painting.abandon();
  assert.deepEqual(field.values, before);
  assert.deepEqual([painting.canUndo, painting.canRedo, painting.painted], [false, false, false]);
});

test("a stroke outside the map adds no undo step", () => {
  const painting = new DepthPainting(slope());
  stroke(painting, [-90, -90], [-80, -80]);
  assert.equal(painting.canUndo, false);
});

test("listeners hear of every change, and of the end of a stroke", () => {
  const painting = new DepthPainting(slope());
  const heard: unknown[] = [];
  const stop = painting.subscribe((region) => heard.push(region));
  painting.begin(brush, point(50, 50));
  painting.end();
  painting.undo();
  stop();
  painting.redo();
  assert.deepEqual(heard, [
    { x: 38, y: 38, width: 24, height: 24 },
    null,
    // Whole tiles of 64.
    { x: 0, y: 0, width: 64, height: 64 },
  ]);
});

test("statistics follow the strokes", () => {
  const painting = new DepthPainting(fieldOf(60, 60, () => 0.5));
  assert.equal(painting.statistics.greatest, 0.5);
  stroke(painting, [30, 30], [40, 30]);
  assert.ok(painting.statistics.greatest > 0.5);
});

test("the values under the pointer are those of the nearest pixel", () => {
  const painting = new DepthPainting(fieldOf(4, 3, (x, y) => (x + 4 * y) / 11));
  assert.equal(painting.valueAt(1.9, 2.2), Math.fround(9 / 11));
  assert.equal(painting.valueAt(-5, 99), Math.fround(8 / 11));
});

test("history keeps within its memory by forgetting the oldest strokes", () => {
  const field = fieldOf(640, 640, () => 0.5);
  const tile = 64 * 64 * 4;
  const history = new StrokeHistory(field, 10 * tile);
  for (let row = 0; row < 8; row++) {
    history.begin();
    history.keep({ x: 0, y: row * 64, width: 200, height: 10 });
    history.end();
    assert.ok(history.bytes <= 10 * tile);
  }
  assert.equal(history.bytes, 8 * tile);
  assert.equal(history.forgetful, true);
});

test("history keeps the last stroke whatever its size", () => {
  const history = new StrokeHistory(
    fieldOf(640, 640, () => 0.5),
    10,
  );
  history.begin();
  history.keep({ x: 0, y: 0, width: 640, height: 640 });
  history.end();
  assert.equal(history.canUndo, true);
});

test("dabs are evenly spaced, whatever the events of the pointer", () => {
  const direct = new StrokePath(brush, point(0, 0)).to(point(30, 0));
  const path = new StrokePath(brush, point(0, 0));
  const steps = [1, 4, 4.5, 17, 18, 29, 30].flatMap((x) => path.to(point(x, 0)));
  assert.deepEqual(
    steps.map(({ x }) => Math.round(x * 1e6) / 1e6),
    direct.map(({ x }) => Math.round(x * 1e6) / 1e6),
  );
  assert.deepEqual(
    direct.map(({ x }) => x),
    [3, 6, 9, 12, 15, 18, 21, 24, 27, 30],
  );
});

test("pressure changes gradually along the path", () => {
  const dabs = new StrokePath(brush, { x: 0, y: 0, pressure: 0 }).to({ x: 30, y: 0, pressure: 1 });
  assert.deepEqual(
    dabs.map(({ pressure }) => Math.round(pressure * 10)),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
});
