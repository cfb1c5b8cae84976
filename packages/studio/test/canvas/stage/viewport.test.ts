import assert from "node:assert/strict";
import { test } from "node:test";
import {
  contained,
  fitScale,
  panned,
  partPlaced,
  pixelZoom,
  placed,
  rebased,
  wholePicture,
  zoomedAt,
} from "../../../src/canvas/stage/viewport.js";

const pane = { width: 824, height: 624 };
const bounds = { x: 0, y: 0, width: 400, height: 400 };

const shareAt = (viewport: typeof wholePicture, x: number, y: number): [number, number] => {
  const place = placed(viewport, pane, bounds);
  return [(x - place.x) / place.width, (y - place.y) / place.height];
};

const isNear = (actual: number, expected: number): void =>
  assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);

test("at first everything fits, centred, with a little room around it", () => {
  assert.deepEqual(placed(wholePicture, pane, bounds), { x: 112, y: 12, width: 600, height: 600 });
});

test("zooming keeps the point under the pointer", () => {
  const before = { zoom: 3, center: { x: 0.5, y: 0.5 } };
  const [x, y] = shareAt(before, 300, 200);
  const [afterX, afterY] = shareAt(zoomedAt(before, { pane, bounds }, { x: 300, y: 200 }, 1.7), 300, 200);
  isNear(afterX, x);
  isNear(afterY, y);
});

test("zooming out ends where everything fits", () => {
  const viewport = zoomedAt({ zoom: 1.2, center: { x: 0.6, y: 0.5 } }, { pane, bounds }, { x: 0, y: 0 }, 0.1);
  assert.deepEqual(viewport, wholePicture);
});

test("zooming in ends at large pixels", () => {
  const { zoom } = zoomedAt(wholePicture, { pane, bounds }, { x: 400, y: 300 }, 1e6);
  isNear(zoom * fitScale(pane, bounds), 32);
});

test("moving stops at the borders", () => {
  const viewport = { zoom: 4, center: { x: 0.5, y: 0.5 } };
  const { x, width } = placed(panned(viewport, pane, bounds, { x: -1e6, y: 0 }), pane, bounds);
  isNear(x + width, pane.width);
});

test("what is smaller than the pane stays in the middle", () => {
  assert.deepEqual(panned(wholePicture, pane, bounds, { x: 50, y: 50 }), wholePicture);
  assert.equal(contained({ zoom: 1.1, center: { x: 0.9, y: 0.5 } }, pane, bounds).center.x, 0.5);
});

test("other bounds keep place and scale", () => {
  const viewport = { zoom: 5, center: { x: 0.55, y: 0.5 } };
  const part = { x: 100, y: 100, width: 10, height: 10 };
  const before = partPlaced(viewport, pane, bounds, part);
  const wider = { x: -100, y: 0, width: 600, height: 400 };
  const after = partPlaced(rebased(viewport, pane, bounds, wider), pane, wider, part);
  for (const key of ["x", "y", "width", "height"] as const) isNear(after[key], before[key]);
});

test("other bounds show everything if everything was seen", () => {
  assert.deepEqual(rebased(wholePicture, pane, bounds, { ...bounds, width: 900 }), wholePicture);
});

test("the zoom to pixels makes a pixel one of the screen", () => {
  const large = { width: 4000, height: 3000 };
  isNear(pixelZoom(pane, large, 2) * fitScale(pane, large) * 2, 1);
});

test("a pane without room still gives numbers", () => {
  const { width } = placed(wholePicture, { width: 10, height: 10 }, bounds);
  assert.ok(width > 0);
});
