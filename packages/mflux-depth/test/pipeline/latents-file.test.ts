import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type DType, type MxArray, saveSafetensors, zeros } from "@mflux-depth/mlx";
import { OptionError } from "../../src/errors.js";
import { readLatents } from "../../src/pipeline/latents-file.js";
import { folderPerTest } from "../support/folders.js";

const currentFolder = folderPerTest("latents-file");

/** The path of a file with tensors of zeros. */
async function fileWith(shapes: Readonly<Record<string, readonly number[]>>, dtype: DType): Promise<string> {
  const path = join(currentFolder(), "noise.safetensors");
  const tensors = new Map<string, MxArray>();
  for (const [name, shape] of Object.entries(shapes)) tensors.set(name, zeros([...shape], dtype));
  await saveSafetensors(path, tensors);
  for (const tensor of tensors.values()) tensor.dispose();
  return path;
}

describe("noise from a file", () => {
  for (const dtype of ["float32", "bfloat16", "float16"] as const)
    test(`is read as float32 with its shape from ${dtype}`, async () => {
      const { data, shape } = readLatents(await fileWith({ noise: [1, 16, 4, 2] }, dtype));
      assert.deepEqual([data, shape], [new Float32Array(128), [1, 16, 4, 2]]);
    });

  for (const dtype of ["int32", "uint8", "bool"] as const)
    test(`is refused for ${dtype}`, async () => {
      const path = await fileWith({ noise: [1, 16, 4, 2] }, dtype);
      assert.throws(
        () => readLatents(path),
        (error) =>
          error instanceof OptionError &&
          error.option === "latents" &&
          error.message === `${path}: expected floating-point numbers, but the tensor holds ${dtype}.`,
      );
    });

  test("is refused without four axes", async () => {
    const path = await fileWith({ noise: [16, 4, 2] }, "float32");
    assert.throws(() => readLatents(path), /expected a tensor named noise.*noise \[16, 4, 2\]/);
  });

  test("is refused among many tensors, of which the message names three", async () => {
    const path = await fileWith({ a: [1], b: [2], c: [3], d: [4], e: [5] }, "float32");
    assert.throws(() => readLatents(path), /the file has (\w \[\d\](, )?){3} and 2 more\.$/);
  });
});
