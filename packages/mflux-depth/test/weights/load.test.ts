import assert from "node:assert/strict";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { Linear, Module } from "@mflux-depth/mlx/nn";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { type FilledTensors, writeFilled } from "../support/checkpoints.js";
import { folderPerTest } from "../support/folders.js";
import { refusedLater } from "../support/refusals.js";

const current = folderPerTest("load");
let folder = "";
beforeEach(() => {
  folder = current();
});

class Pair extends Module {
  firstLayer = new Linear(4, 2);
  second = new Linear(2, 3, { bias: false });
}

const complete: FilledTensors = {
  "first_layer.weight": [[2, 4], 1],
  "first_layer.bias": [[2], 2],
  "second.weight": [[3, 2], 3],
};

const write = (tensors: FilledTensors): Promise<string> =>
  writeFilled(join(folder, "model.safetensors"), tensors);

async function load(rename?: (name: string) => string | null): Promise<Pair> {
  const pair = new Pair();
  await loadWeights(pair, openCheckpoint(folder), { dtype: "float16", ...(rename && { rename }) });
  return pair;
}

describe("loadWeights", () => {
  test("fills the module and converts to the dtype", async () => {
    await write(complete);
    using pair = await load();
    assert.equal(pair.firstLayer.parameters().get("weight")?.dtype, "float16");
    assert.deepEqual(pair.parameters().get("second.weight")?.shape, [3, 2]);
  });

  test("ignores the tensors that have no name in the module", async () => {
    await write({ ...complete, position_ids: [[1], 0] });
    using pair = await load((name) => (name === "position_ids" ? null : name));
    assert.equal(pair.parameters().size, 3);
  });

  test("refuses a tensor of another shape", async () => {
    const path = await write({ ...complete, "second.weight": [[2, 3], 3] });
    await refusedLater(load, path, /"second\.weight" is .*\[2, 3\], not .*\[3, 2\]/);
  });

  test("refuses a missing tensor", async () => {
    const path = await write({ ...complete, "second.weight": [[2, 3], 3] });
    await refusedLater(
      () => load((name) => name.replace("second.", "other.")),
      path,
      /"second\.weight" is missing/,
    );
  });

  test("refuses tensors that do not belong to the module, and counts them", async () => {
    const path = await write({ ...complete, extra: [[1], 0], more: [[1], 0] });
    await refusedLater(
      load,
      path,
      /"(extra|more)" does not belong to this model \(and 1 more has this problem\)/,
    );
  });

  test("refuses a single such tensor without counting", async () => {
    const path = await write({ ...complete, extra: [[1], 0], more: [[1], 0] });
    await refusedLater(
      () => load((name) => (name === "more" ? null : name)),
      path,
      /"extra" does not belong to this model$/,
    );
  });
});
