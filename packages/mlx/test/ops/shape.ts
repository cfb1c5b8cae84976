import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { refuses, same } from "../support/assertions.js";
import { at, build, type Dense, layouts, noise, permute, toArray } from "../support/dense.js";

const d = noise([2, 3, 4], 40);

/** Compares the result for every memory layout of one array. */
const each = (op: (a: mx.MxArray) => mx.MxArray, expected: Dense): void => {
  for (const [layout, a] of layouts(d)) same(op(a), expected, layout);
};

const shaped = (shape: number[]): Dense => ({ shape, values: d.values });

export const shape: Record<string, () => void> = {
  reshape() {
    each((a) => mx.reshape(a, [4, 6]), shaped([4, 6]));
    each((a) => mx.reshape(a, [3, -1]), shaped([3, 8]));
    same(mx.reshape(mx.array([7]), []), 7);
    same(mx.reshape(mx.broadcastTo(mx.array([1, 2]), [2, 2]), [4]), [1, 2, 1, 2], "broadcast");
    refuses(() => mx.reshape(toArray(d), [5, 5]), "reshape", "[2,3,4]", "(5,5)");
    refuses(() => mx.reshape(toArray(d), [-1, -1]), "reshape");
    refuses(() => mx.reshape(toArray(d), [-4, -6]), "reshape", "-4");
    refuses(() => mx.reshape(toArray(d), [2.4, 10]), "reshape", "2.4");
  },
  flatten() {
    each((a) => mx.flatten(a), shaped([24]));
    each((a) => mx.flatten(a, 1), shaped([2, 12]));
    each((a) => mx.flatten(a, 0, -2), shaped([6, 4]));
    refuses(() => mx.flatten(toArray(d), 2, 1), "flatten", "[2,3,4]");
  },
  unflatten() {
    each((a) => mx.unflatten(a, -1, [2, 2]), shaped([2, 3, 2, 2]));
    each((a) => mx.unflatten(a, 1, [-1, 1]), shaped([2, 3, 1, 4]));
    refuses(() => mx.unflatten(toArray(d), 1, [2, 2]), "unflatten", "[2,3,4]");
    refuses(() => mx.unflatten(toArray(d), 2, [-2, -2]), "unflatten");
    refuses(() => mx.unflatten(mx.zeros([0]), 0, [-1, 0]), "unflatten", "[0]");
  },
  squeeze() {
    const thin = mx.reshape(toArray(d), [2, 1, 3, 1, 4]);
    same(mx.squeeze(thin), d);
    same(mx.squeeze(thin, -2), shaped([2, 1, 3, 4]));
    same(mx.squeeze(thin, [1, 3]), d);
    refuses(() => mx.squeeze(thin, 0), "squeeze", "[2,1,3,1,4]");
  },
  expandDims() {
    each((a) => mx.expandDims(a, 1), shaped([2, 1, 3, 4]));
    each((a) => mx.expandDims(a, [0, -1]), shaped([1, 2, 3, 4, 1]));
    refuses(() => mx.expandDims(toArray(d), 9), "expandDims", "[2,3,4]");
  },
  transpose() {
    each((a) => mx.transpose(a), permute(d, [2, 1, 0]));
    each((a) => mx.transpose(a, [1, 2, 0]), permute(d, [1, 2, 0]));
    each((a) => mx.transpose(a, [-1, 0, -2]), permute(d, [2, 0, 1]));
    refuses(() => mx.transpose(toArray(d), [0, 0, 1]), "transpose", "[2,3,4]");
    refuses(() => mx.transpose(toArray(d), [0, 1]), "transpose", "[2,3,4]");
  },
  swapaxes() {
    each((a) => mx.swapaxes(a, 0, -1), permute(d, [2, 1, 0]));
    refuses(() => mx.swapaxes(toArray(d), 0, 3), "swapaxes", "[2,3,4]");
  },
  moveaxis() {
    each((a) => mx.moveaxis(a, 0, -1), permute(d, [1, 2, 0]));
    refuses(() => mx.moveaxis(toArray(d), 3, 0), "moveaxis", "[2,3,4]");
  },
  broadcastTo() {
    each(
      (a) => mx.broadcastTo(a, [2, 2, 3, 4]),
      build([2, 2, 3, 4], (i) => at(d, i)),
    );
    same(mx.broadcastTo(3, [2, 2]), [
      [3, 3],
      [3, 3],
    ]);
    same(mx.broadcastTo(mx.array([[1], [2]]), [2, 3]), [
      [1, 1, 1],
      [2, 2, 2],
    ]);
    refuses(() => mx.broadcastTo(toArray(d), [3, 3, 4]), "broadcastTo", "[2,3,4]", "(3,3,4)");
  },
  concatenate() {
    const other = noise([2, 2, 4], 41);
    for (const [layout, a] of layouts(d))
      for (const axis of [1, -2])
        same(
          mx.concatenate([a, toArray(other)], axis),
          build([2, 5, 4], ([i, j, k]) => (j! < 3 ? at(d, [i!, j!, k!]) : at(other, [i!, j! - 3, k!]))),
          layout,
        );
    same(mx.concatenate([mx.array([1]), mx.array([2, 3])]), [1, 2, 3]);
    refuses(() => mx.concatenate([toArray(d), toArray(other)], 0), "concatenate", "[2,3,4]", "[2,2,4]");
    refuses(() => mx.concatenate([]), "concatenate");
  },
  stack() {
    const other = noise([2, 3, 4], 42);
    for (const [layout, a] of layouts(d))
      same(
        mx.stack([a, toArray(other)], -1),
        build([2, 3, 4, 2], (i) => at(i[3] ? other : d, i.slice(0, 3))),
        layout,
      );
    same(mx.stack([mx.array([1, 2]), mx.array([3, 4])]), [
      [1, 2],
      [3, 4],
    ]);
    refuses(() => mx.stack([mx.ones([2]), mx.ones([3])]), "stack", "[2]", "[3]");
  },
  split() {
    for (const [layout, a] of layouts(d)) {
      const halves = mx.split(a, 2, -1);
      assert.equal(halves.length, 2);
      for (const [part, half] of halves.entries())
        same(
          half,
          build([2, 3, 2], ([i, j, k]) => at(d, [i!, j!, k! + 2 * part])),
          layout,
        );
      const parts = mx.split(a, [1, 3], 2);
      const starts = [0, 1, 3];
      for (const [part, size] of [1, 2, 1].entries())
        same(
          parts[part]!,
          build([2, 3, size], ([i, j, k]) => at(d, [i!, j!, k! + starts[part]!])),
          layout,
        );
    }
    refuses(() => mx.split(toArray(d), 3, 2), "split", "[2,3,4]");
    refuses(() => mx.split(toArray(d), 0), "split");
  },
  repeat() {
    each(
      (a) => mx.repeat(a, 3, 1),
      build([2, 9, 4], ([i, j, k]) => at(d, [i!, Math.floor(j! / 3), k!])),
    );
    each(
      (a) => mx.repeat(a, 2, -1),
      build([2, 3, 8], ([i, j, k]) => at(d, [i!, j!, k! >> 1])),
    );
    refuses(() => mx.repeat(toArray(d), -1, 0), "repeat", "[2,3,4]");
  },
  tile() {
    each(
      (a) => mx.tile(a, [2, 1, 3]),
      build([4, 3, 12], ([i, j, k]) => at(d, [i! % 2, j!, k! % 4])),
    );
    each(
      (a) => mx.tile(a, [2]),
      build([2, 3, 8], ([i, j, k]) => at(d, [i!, j!, k! % 4])),
    );
    refuses(() => mx.tile(toArray(d), [-1]), "tile", "[2,3,4]");
  },
  pad() {
    const widths = [
      [1, 0],
      [0, 2],
      [2, 1],
    ] as const;
    const inside = ([i, j, k]: number[]): number[] => [i! - 1, j!, k! - 2];
    each(
      (a) => mx.pad(a, widths, { value: 9 }),
      build([3, 5, 7], (index) => {
        const [i, j, k] = inside(index);
        return i! < 0 || j! > 2 || k! < 0 || k! > 3 ? 9 : at(d, [i!, j!, k!]);
      }),
    );
    each(
      (a) => mx.pad(a, widths, { mode: "edge" }),
      build([3, 5, 7], (index) => {
        const [i, j, k] = inside(index);
        return at(d, [Math.max(i!, 0), Math.min(j!, 2), Math.min(Math.max(k!, 0), 3)]);
      }),
    );
    same(mx.pad(mx.array([5]), [[1, 1]]), [0, 5, 0]);
    refuses(() => mx.pad(toArray(d), [[1, 1]]), "pad", "[2,3,4]");
    refuses(() => mx.pad(mx.ones([2]), [[-1, 0]]), "pad", "-1");
  },
  flip() {
    each(
      (a) => mx.flip(a),
      build([2, 3, 4], ([i, j, k]) => at(d, [1 - i!, 2 - j!, 3 - k!])),
    );
    each(
      (a) => mx.flip(a, -2),
      build([2, 3, 4], ([i, j, k]) => at(d, [i!, 2 - j!, k!])),
    );
    each(
      (a) => mx.flip(a, [0, 2]),
      build([2, 3, 4], ([i, j, k]) => at(d, [1 - i!, j!, 3 - k!])),
    );
    refuses(() => mx.flip(toArray(d), 3), "flip", "[2,3,4]");
  },
  roll() {
    each(
      (a) => mx.roll(a, 1, -1),
      build([2, 3, 4], ([i, j, k]) => at(d, [i!, j!, (k! + 3) % 4])),
    );
    each(
      (a) => mx.roll(a, -5, 1),
      build([2, 3, 4], ([i, j, k]) => at(d, [i!, (j! + 5) % 3, k!])),
    );
    refuses(() => mx.roll(toArray(d), 1, 3), "roll", "[2,3,4]");
  },
};
