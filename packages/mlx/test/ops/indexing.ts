import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { refuses, same } from "../support/assertions.js";
import { at, build, type Dense, dense, fold, layouts, noise, toArray } from "../support/dense.js";

const d = noise([4, 5, 6], 50);
const ints = (values: number[], shape = [values.length]): mx.MxArray =>
  mx.array(new Int32Array(values), { shape });

/** The positions that a range selects on an axis, like Array.prototype.slice. */
function taken(size: number, range: mx.Range): number[] {
  const all = Array.from({ length: size }, (_, i) => i);
  if (range === null) return all;
  if (typeof range === "number") return [all.at(range)!];
  const [start, stop, step = 1] = range;
  return all.slice(start, stop ?? size).filter((_, i) => i % step === 0);
}

const ranges: mx.Range[][] = [
  [],
  [1],
  [-1, null, -6],
  [[1, 3]],
  [null, [1, null, 2], [-4, -1]],
  [0, 0, 0],
  [[2, 2]],
  [[3, 1]],
  [
    [-100, 100],
    [4, 100],
    [-100, 2],
  ],
  [null, null, [0, 6, 4]],
  [[0, null, 7], 2, [5, null]],
];

/** Draws integers from `[low, high)`. */
const wholes = (shape: number[], seed: number, high: number): Dense => {
  const found = noise(shape, seed, 0, high);
  return { shape, values: found.values.map(Math.floor) };
};

/** Tests that the element at `kth` is the one of a sort, with smaller ones before it. */
function partitioned(found: number[], original: number[], kth: number): void {
  const sorted = original.toSorted((a, b) => a - b);
  assert.equal(found[kth], sorted[kth]);
  assert.ok(found.slice(0, kth).every((v) => v <= sorted[kth]!));
  assert.ok(found.slice(kth + 1).every((v) => v >= sorted[kth]!));
  assert.deepEqual(
    found.toSorted((a, b) => a - b),
    sorted,
  );
}

const rowsOf = (a: Dense, length: number): number[][] =>
  Array.from({ length: a.values.length / length }, (_, i) => a.values.slice(i * length, (i + 1) * length));

export const indexing: Record<string, () => void> = {
  slice() {
    for (const [layout, a] of layouts(d))
      for (const range of ranges) {
        const axes = [0, 1, 2].map((axis) => taken(d.shape[axis]!, range[axis] ?? null));
        const whole = build(
          axes.map((axis) => axis.length),
          (i) =>
            at(
              d,
              i.map((at, axis) => axes[axis]![at]!),
            ),
        );
        const kept = whole.shape.filter((_, axis) => typeof range[axis] !== "number");
        same(mx.slice(a, range), { ...whole, shape: kept }, `${layout} ${JSON.stringify(range)}`);
      }
    refuses(() => mx.slice(toArray(d), [4]), "slice", "index 4", "[4,5,6]");
    refuses(() => mx.slice(toArray(d), [null, -6]), "slice", "index -6", "axis 1");
    refuses(() => mx.slice(toArray(d), [0, 0, 0, 0]), "slice", "4 ranges", "[4,5,6]");
    refuses(() => mx.slice(toArray(d), [[0, 2, 0]]), "slice", "step 0");
    refuses(() => mx.slice(toArray(d), [[0, 2, -1]]), "slice", "step -1");
    refuses(() => mx.slice(toArray(d), [0.5]), "slice", "0.5");
    refuses(() => mx.slice(toArray(d), [[0.5, 2]]), "slice", "0.5");
    refuses(() => mx.slice(toArray(d), [[Number.NaN, 2]]), "slice", "NaN");
  },
  sliceUpdate() {
    for (const [layout, a] of layouts(d))
      for (const range of ranges) {
        const axes = [0, 1, 2].map((axis) => taken(d.shape[axis]!, range[axis] ?? null));
        const shape = axes.map((axis) => axis.length);
        const update = noise(shape, 51);
        const kept = shape.filter((_, axis) => typeof range[axis] !== "number");
        const expected = build(d.shape, (i) => {
          const within = i.map((at, axis) => axes[axis]!.indexOf(at));
          return within.includes(-1) ? at(d, i) : at(update, within);
        });
        const note = `${layout} ${JSON.stringify(range)}`;
        same(mx.sliceUpdate(a, toArray({ ...update, shape: kept }), range), expected, note);
        same(a, d, "the array itself stays");
      }
    same(
      mx.sliceUpdate(mx.zeros([2, 3]), 5, [null, 1]),
      [
        [0, 5, 0],
        [0, 5, 0],
      ],
      "a number",
    );
    same(
      mx.sliceUpdate(mx.zeros([2, 2]), mx.array([1, 2]), [[0, 2]]),
      [
        [1, 2],
        [1, 2],
      ],
      "broadcast",
    );
    refuses(() => mx.sliceUpdate(mx.zeros([3]), mx.ones([4]), [[0, 2]]), "sliceUpdate", "[3]", "[4]");
  },
  take() {
    const indices = [3, 0, -1, 0];
    for (const [layout, a] of layouts(d)) {
      same(
        mx.take(a, ints(indices), 0),
        build([4, 5, 6], ([i, j, k]) => at(d, [(indices[i!]! + 4) % 4, j!, k!])),
        layout,
      );
      same(
        mx.take(a, ints([0, 5, 2, 4], [2, 2]), -1),
        build([4, 5, 2, 2], (i) => at(d, [i[0]!, i[1]!, [0, 5, 2, 4][2 * i[2]! + i[3]!]!])),
        layout,
      );
      same(mx.take(a, ints([0, 119, 7])), [d.values[0]!, d.values[119]!, d.values[7]!], layout);
    }
    same(mx.take(mx.array([1, 2]), mx.array(new BigInt64Array([1n]))), [2]);
    if (mx.defaultDevice() === "cpu")
      for (const index of [3, 1e9, 2 ** 31 - 1])
        same(mx.take(mx.array([1, 2, 3]), ints([index, -index - 1])), [3, 1], "beyond the ends");
    same(mx.take(mx.arange(300), mx.array(new Uint8Array([255]))), [255]);
    refuses(() => mx.take(toArray(d), mx.ones([1])), "take", "float32 [1]");
    refuses(() => mx.take(mx.zeros([0]), ints([0])), "take", "[0]");
  },
  takeAlongAxis() {
    const indices = wholes([4, 2, 6], 52, 5);
    for (const [layout, a] of layouts(d))
      for (const axis of [1, -2])
        same(
          mx.takeAlongAxis(a, toArray(indices, "int32"), axis),
          build([4, 2, 6], (i) => at(d, i.with(1, at(indices, i)))),
          layout,
        );
    if (mx.defaultDevice() === "cpu")
      same(mx.takeAlongAxis(mx.array([1, 2, 3]), ints([1e9, -1e9]), -1), [3, 1], "beyond the ends");
    refuses(() => mx.takeAlongAxis(toArray(d), ints([1]), 0), "takeAlongAxis", "[4,5,6]", "[1]");
  },
  putAlongAxis() {
    const indices: Dense = build([4, 2, 6], ([i, j, k]) => (i! + k! + 2 * j!) % 5);
    const values = noise([4, 2, 6], 53);
    const expected = (value: (i: number[]) => number): Dense =>
      build(d.shape, (i) => {
        for (const j of [0, 1]) if (at(indices, i.with(1, j)) === i[1]) return value(i.with(1, j));
        return at(d, i);
      });
    for (const [layout, a] of layouts(d)) {
      same(
        mx.putAlongAxis(a, toArray(indices, "int32"), toArray(values), -2),
        expected((i) => at(values, i)),
        layout,
      );
      same(
        mx.putAlongAxis(a, toArray(indices, "int32"), 7, 1),
        expected(() => 7),
        layout,
      );
    }
    if (mx.defaultDevice() === "cpu")
      same(mx.putAlongAxis(mx.zeros([3]), ints([1e9]), 7, 0), [0, 0, 7], "beyond the end");
    refuses(() => mx.putAlongAxis(mx.ones([3]), ints([1, 1], [1, 2]), 0, 0), "putAlongAxis", "[3]");
  },
  gather() {
    // Rows 2 and 0, columns 1 and 4: windows of 1 x 2 x 6 at the two places.
    const windows = build([2, 1, 2, 6], ([n, , j, k]) => at(d, [[2, 0][n!]!, [1, 3][n!]! + j!, k!]));
    for (const [layout, a] of layouts(d))
      same(mx.gather(a, [ints([2, 0]), ints([1, 3])], [0, 1], [1, 2, 6]), windows, layout);
    if (mx.defaultDevice() === "cpu") {
      const far = [3, 1e9, 2 ** 31 - 1, -4, -1e9, -(2 ** 31)];
      same(mx.gather(mx.array([1, 2, 3]), [ints(far)], [0], [1]), [[3], [3], [3], [1], [1], [1]], "beyond");
      // The start is clamped so that the whole slice lies inside.
      const slices = [
        ...Array(3).fill([3, 4, 5]),
        ...Array(3).fill([1, 2, 3]),
        [2, 3, 4],
        [3, 4, 5],
        [3, 4, 5],
      ];
      const starts = [5, 1e9, 2 ** 31 - 1, -6, -1e9, -(2 ** 31), -4, -2, 2];
      same(mx.gather(mx.array([1, 2, 3, 4, 5]), [ints(starts)], [0], [3]), slices, "a slice beyond");
      for (const indices of [new Uint8Array([255, 1]), new BigUint64Array([2n ** 64n - 1n, 1n])])
        same(
          mx.gather(mx.array([1, 2, 3]), [mx.array(indices)], [0], [2]),
          [
            [2, 3],
            [2, 3],
          ],
          "unsigned",
        );
      const row = mx.arange(300);
      same(mx.slice(mx.gather(row, [mx.array(new Int8Array([-1, 127]))], [0], [250]), [null, 0]), [50, 50]);
      const places = [ints([1e9, 0]), mx.array(new Uint8Array([200, 1]))];
      same(
        mx.gather(
          mx.array([
            [1, 2],
            [3, 4],
          ]),
          places,
          [0, 1],
          [1, 1],
        ),
        [[[4]], [[2]]],
        "two axes",
      );
    }
    refuses(() => mx.gather(mx.ones([3]), [mx.ones([1])], [0], [1]), "gather", "[3]");
    refuses(() => mx.gather(mx.ones([3]), [ints([0])], [1], [1]), "gather", "[3]");
    refuses(() => mx.gather(mx.ones([3]), [ints([0])], [], [1]), "gather", "[3]");
    refuses(() => mx.gather(mx.ones([3]), [ints([0])], [0], []), "gather", "[3]");
    refuses(() => mx.gather(mx.ones([3]), [ints([0])], [0], [-1]), "gather", "[3]");
    refuses(() => mx.gather(mx.ones([3]), [ints([0])], [0], [9]), "gather", "[3]");
  },
  scatter() {
    const updates = noise([2, 1, 6], 54);
    const base = noise([4, 6], 55);
    const expected = build([4, 6], ([i, j]) =>
      i === 3 ? at(updates, [0, 0, j!]) : i === 1 ? at(updates, [1, 0, j!]) : at(base, [i!, j!]),
    );
    for (const [layout, a] of layouts(base))
      same(mx.scatter(a, [ints([3, 1])], toArray(updates), [0]), expected, layout);
    same(
      mx.scatter(mx.zeros([2, 3]), [ints([0, 1]), ints([2, 0])], mx.array([5, 6].map((v) => [[v]])), [0, 1]),
      [
        [0, 0, 5],
        [6, 0, 0],
      ],
    );
    if (mx.defaultDevice() === "cpu") {
      const one = mx.array([[7]]);
      for (const index of [3, 1e9, 2 ** 31 - 1]) {
        same(mx.scatter(mx.zeros([3]), [ints([index])], one, [0]), [0, 0, 7], "beyond the end");
        same(mx.scatter(mx.zeros([3]), [ints([-index - 1])], one, [0]), [7, 0, 0], "beyond the start");
        same(
          mx.scatter(mx.zeros([3]), [ints([index])], mx.array([[7, 8]]), [0]),
          [0, 7, 8],
          "a slice beyond",
        );
      }
    }
    refuses(() => mx.scatter(mx.ones([3]), [ints([1])], mx.ones([1]), [0]), "scatter", "[3]");
    refuses(() => mx.scatter(mx.ones([3]), [ints([1])], mx.ones([1, 1]), [2]), "scatter", "[3]");
  },
  scatterAdd() {
    same(
      mx.scatterAdd(mx.array([1, 1, 1]), [ints([2, 0, 2])], mx.array([10, 20, 30].map((v) => [v])), [0]),
      [21, 1, 41],
    );
    if (mx.defaultDevice() === "cpu")
      same(
        mx.scatterAdd(mx.ones([3]), [ints([1e9, -1e9, 1e9])], mx.array([[5], [6], [7]]), [0]),
        [7, 1, 13],
        "beyond the ends",
      );
    refuses(
      () => mx.scatterAdd(mx.ones([3]), [ints([1])], mx.ones([1, 9]), [0]),
      "scatterAdd",
      "[3]",
      "[1,9]",
    );
  },

  sort() {
    for (const [layout, a] of layouts(d)) {
      same(mx.sort(a), sorted(d, 2), layout);
      same(mx.sort(a, 0), sorted(d, 0), layout);
      same(mx.sort(a, -2), sorted(d, 1), layout);
    }
    same(mx.sort(ints([3, -1, 2])), [-1, 2, 3]);
    same(mx.sort(mx.array([1, Number.NaN, -Infinity, 0])), [-Infinity, 0, 1, Number.NaN], "NaN last");
    refuses(() => mx.sort(toArray(d), 3), "sort", "[4,5,6]");
  },
  argsort() {
    for (const [layout, a] of layouts(d))
      for (const axis of [1, -1]) {
        const order = mx.argsort(a, axis);
        assert.equal(order.dtype, "uint32");
        same(mx.takeAlongAxis(toArray(d), order, axis), sorted(d, (axis + 3) % 3), layout);
      }
    refuses(() => mx.argsort(toArray(d), 3), "argsort", "[4,5,6]");
  },
  topk() {
    for (const [layout, a] of layouts(d)) {
      const best = rowsOf(dense(mx.topk(a, 2)), 2).map((row) => row.toSorted((x, y) => x - y));
      assert.deepEqual(
        best,
        rowsOf(sorted(d, 2), 6).map((row) => row.slice(4)),
        layout,
      );
    }
    assert.deepEqual(mx.topk(toArray(d), 3, 0).shape, [3, 5, 6]);
    same(
      mx.max(mx.topk(toArray(d), 3, 0), { axis: 0 }),
      fold(d, [0], false, (v) => Math.max(...v)),
    );
    refuses(() => mx.topk(toArray(d), 7), "topk", "7", "[4,5,6]");
  },
  partition() {
    for (const [layout, a] of layouts(d))
      for (const kth of [0, 3, -1]) {
        const rows = rowsOf(dense(mx.partition(a, kth)), 6);
        for (const [i, row] of rowsOf(d, 6).entries()) partitioned(rows[i]!, row, (kth + 6) % 6);
        assert.equal(rows.length, 20, layout);
      }
    refuses(() => mx.partition(toArray(d), 6), "partition", "[4,5,6]");
  },
  argpartition() {
    for (const [layout, a] of layouts(d)) {
      const order = rowsOf(dense(mx.argpartition(a, 2)), 6);
      for (const [i, row] of rowsOf(d, 6).entries())
        partitioned(
          order[i]!.map((j) => row[j]!),
          row,
          2,
        );
      assert.equal(order.length, 20, layout);
    }
    refuses(() => mx.argpartition(toArray(d), 6), "argpartition", "[4,5,6]");
  },
};

function sorted(source: Dense, axis: number): Dense {
  return build(source.shape, (index) => {
    const line = Array.from({ length: source.shape[axis]! }, (_, i) => at(source, index.with(axis, i)));
    return line.toSorted((a, b) => a - b)[index[axis]!]!;
  });
}
