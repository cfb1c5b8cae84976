import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { evaluateSync, type MxArray, memory, multiply, random, scope } from "@mflux-depth/mlx";
import { Conv2d, ConvTranspose2d, GroupNorm, Module, randomize, relu, runStages } from "@mflux-depth/mlx/nn";
import {
  applyOps,
  bandsWithin,
  type ConvOp,
  inBands,
  opShapeOf,
  sizeOf,
  sizesOf,
} from "../../src/models/bands.js";
import { relativeError, values } from "../support/tensors.js";

/** One layer of each kind that convolutions can have. */
class Layers extends Module {
  readonly norm = new GroupNorm(2, 4);
  readonly same = new Conv2d(4, 4, { kernelSize: 3, padding: 1 });
  readonly wider = new Conv2d(4, 6, { kernelSize: 3, padding: 1 });
  readonly shortcut = new Conv2d(4, 6, { kernelSize: 1 });
  readonly halving = new Conv2d(6, 6, { kernelSize: 3, stride: 2, padding: [0, 1] });
  readonly doubling = new ConvTranspose2d(6, 5, { kernelSize: 2, stride: 2 });
  readonly last = new Conv2d(5, 3, { kernelSize: 3, padding: 1 });
}

const layers = new Layers();
randomize(layers, random.key(1), 0.3);
const input = random.normal([2, 22, 5, 4], { key: random.key(2) });
const finest = random.normal([2, 44, 8, 3], { key: random.key(3) });

const residual: ConvOp[] = [
  { conv: layers.same, norm: layers.norm },
  { conv: layers.wider, before: relu, skip: { conv: layers.shortcut } },
];
const scaling: ConvOp[] = [
  { conv: layers.halving },
  { conv: layers.doubling, after: (y) => multiply(y, 0.5) },
  { conv: layers.last, repeat: 2, after: relu, plus: finest },
];
const groups = [residual, scaling];
const whole = values(scope(() => applyOps(groups.flat(), input)));

describe("sizesOf", () => {
  test("tells the size of every feature map", () => {
    assert.deepEqual(
      sizesOf(groups.flat().map(opShapeOf), sizeOf(input)).map(({ height, width, channels }) => [
        height,
        width,
        channels,
      ]),
      [
        [22, 5, 4],
        [22, 5, 4],
        [22, 5, 6],
        [11, 2, 6],
        [22, 4, 5],
        [44, 8, 3],
      ],
    );
  });
});

describe("inBands", () => {
  for (const bands of [1, 2, 3, 7, 44, 60])
    test(`gives the whole map in ${bands} bands`, async () => {
      using out = await runStages(inBands(groups, input, bands));
      const error = relativeError(values(out), whole);
      assert.ok(error < 1e-6, `relative error ${error}`);
    });

  test("gives the same with all ops in one group", async () => {
    using out = await runStages(inBands([groups.flat()], input, 5));
    assert.ok(relativeError(values(out), whole) < 1e-6);
  });

  test("evaluates each group of a band separately", () => {
    const count = (of: readonly (readonly ConvOp[])[]): number => {
      const stages = inBands(of, input, 4);
      for (let pieces = 0; ; pieces++) {
        const { done, value } = stages.next();
        if (!done) continue;
        value.dispose();
        return pieces;
      }
    };
    assert.deepEqual([count([groups.flat()]), count(groups)], [4, 8]);
  });

  test("holds nothing when it is left early", () => {
    evaluateSync([input, finest, ...layers.parameters().values()]);
    const handles = memory.liveHandles();
    for (let pieces = 1; pieces <= 8; pieces++) {
      const stages = inBands(groups, input, 4);
      for (let i = 0; i < pieces; i++) evaluateSync(stages.next().value as MxArray[]);
      stages.return(input);
      assert.equal(memory.liveHandles(), handles, `after ${pieces} pieces`);
    }
  });
});

describe("bandsWithin", () => {
  const bands = (limit: number): number => bandsWithin(limit, groups, sizeOf(input));

  test("needs one band without a limit", () => assert.equal(bands(Number.POSITIVE_INFINITY), 1));

  test("takes more bands for less memory", () => {
    const counts = [20_000, 10_000, 5_000].map(bands);
    assert.ok(counts[0]! > 1 && counts[1]! > counts[0]! && counts[2]! > counts[1]!, `${counts}`);
  });

  test("takes a band for each row if nothing fits", () => assert.equal(bands(0), 44));
});
