import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { array } from "@mflux-depth/mlx";
import { inGroups, type NamedArray } from "../../src/weights/writer.js";
import { folderPerTest } from "../support/folders.js";
import { at } from "../support/tensors.js";

const currentFolder = folderPerTest("writer");

describe("inGroups", () => {
  test("splits tensors into groups below the limit; a larger tensor gets its own", () => {
    const sizes = [40, 60, 1, 300, 20, 80, 1];
    const tensors = sizes.map((n, i): NamedArray => [`${i}`, array(new Uint8Array(n))]);
    const groups = inGroups(tensors, 100).map((group) => group.map(([, { nbytes }]) => nbytes));
    assert.deepEqual(groups, [[40, 60], [1], [300], [20, 80], [1]]);
    for (const [, one] of tensors) one.dispose();
  });
});

describe("reading and writing 134 MB of weights, 38 MB at 4 bits", {
  skip: existsSync("/proc/self/status") ? false : "measures a process on Linux",
}, () => {
  test("takes little more memory than the result", async () => {
    const folder = currentFolder();
    const child = at("dist/test/support/saved-child.js");
    const measure = async (mode: string): Promise<{ grown: number; held: number }> =>
      JSON.parse((await promisify(execFile)(process.execPath, [child, mode, folder])).stdout);
    const MB = 1e6;
    const made = await measure("make");
    assert.ok(made.grown < 60 * MB, `writing 134 MB took ${made.grown / MB} MB`);
    const loaded = await measure("load");
    assert.ok(loaded.held < 38 * MB, `${loaded.held / MB} MB held`);
    assert.ok(
      loaded.grown < loaded.held + 30 * MB,
      `loading 134 MB into ${loaded.held / MB} MB took ${loaded.grown / MB} MB`,
    );
    const written = await measure("quantize");
    assert.ok(written.grown < 60 * MB, `quantizing 134 MB into a file took ${written.grown / MB} MB`);
    rmSync(join(folder, "model.safetensors"));
    const again = await measure("load");
    assert.equal(again.held, loaded.held);
    assert.ok(
      again.grown < again.held + 30 * MB,
      `loading ${again.held / MB} MB took ${again.grown / MB} MB`,
    );
  });
});
