import assert from "node:assert/strict";
import { test } from "node:test";
import { cameraMatrix, coasted, orbited, restingOrbit } from "../../../src/canvas/stage/orbit.js";

/** Straight ahead. */
const frontOrbit = { yaw: 0, pitch: 0, zoom: 1 };

const photo = { width: 1.5, height: 1 };

/** Where the camera sees a point, from -1 to 1, and how far away. */
function seen(matrix: Float32Array, [x, y, z]: [number, number, number]) {
  const row = (r: number): number =>
    matrix[r]! * x + matrix[4 + r]! * y + matrix[8 + r]! * z + matrix[12 + r]!;
  return { x: row(0) / row(3), y: row(1) / row(3), depth: row(2) / row(3) };
}

const isNear = (actual: number, expected: number): void =>
  assert.ok(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`);

test("from the front, the photo fills the pane of its proportions", () => {
  const { x, y } = seen(cameraMatrix(frontOrbit, photo, 1.5), [0.75, 0.5, 0]);
  isNear(x, 1);
  isNear(y, 1);
});

test("a narrow pane shows the photo's whole width", () => {
  const { x } = seen(cameraMatrix(frontOrbit, photo, 0.5), [0.75, 0.5, 0]);
  isNear(x, 1);
});

test("near things are in front of far ones, within the range of the depth buffer", () => {
  const matrix = cameraMatrix(restingOrbit, photo, 1.5);
  const [near, far] = [seen(matrix, [0, 0, 0.25]), seen(matrix, [0, 0, -0.25])];
  assert.ok(near.depth < far.depth && near.depth > -1 && far.depth < 1);
});

test("a camera to the right sees near things shifted to the left", () => {
  const matrix = cameraMatrix({ ...frontOrbit, yaw: 0.3 }, photo, 1.5);
  assert.ok(seen(matrix, [0, 0, 0.25]).x < 0);
  isNear(seen(matrix, [0, 0, 0]).x, 0);
});

test("a camera above sees near things shifted down", () => {
  assert.ok(seen(cameraMatrix({ ...frontOrbit, pitch: 0.3 }, photo, 1.5), [0, 0, 0.25]).y < 0);
});

test("turning and zooming stop at their limits", () => {
  const orbit = orbited(frontOrbit, { yaw: 9, pitch: -9, zoom: 100 });
  assert.deepEqual(orbit, { yaw: 1.2, pitch: -0.96, zoom: 6 });
});

test("momentum fades, covers the same way at any frame rate, and comes to rest", () => {
  const spin = { yaw: 0.002, pitch: 0 };
  const whole = coasted(frontOrbit, spin, 160);
  let [orbit, left] = [frontOrbit, spin as typeof spin | null];
  for (let i = 0; i < 10 && left; i++) ({ orbit, spin: left } = coasted(orbit, left, 16) as typeof whole);
  isNear(orbit.yaw, whole.orbit.yaw);
  assert.ok(whole.spin!.yaw < spin.yaw);
  assert.equal(coasted(frontOrbit, spin, 2000).spin, null);
});
