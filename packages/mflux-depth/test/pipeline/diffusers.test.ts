import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { loadSafetensors } from "@mflux-depth/mlx";
import type { FluxDepth } from "../../src/index.js";
import { at, relativeError } from "../support/tensors.js";
import { collect, exampleImage, inMemory, loadTinyWorld } from "../support/tiny-world.js";

/** A generation of diffusers, whose tensors are in `golden/`. */
interface Golden {
  prompt: string;
  depth?: string;
  /** A photo to start from. */
  image?: string;
  /** A photo whose depth guides the image. */
  photo?: string;
  strength?: number;
  width: number;
  height: number;
  steps: number;
  guidance: number;
}

const goldens = at("test/golden");
const { pipeline } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as { pipeline: Golden[] };

/** Reads tensors as typed arrays. */
function readTensors(path: string): Map<string, ArrayLike<number>> {
  const { arrays } = loadSafetensors(path);
  const values = new Map<string, ArrayLike<number>>();
  for (const [name, one] of arrays) {
    values.set(name, one.toTypedArray() as Float32Array);
    one.dispose();
  }
  return values;
}

describe("a generation agrees with diffusers", () => {
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld({ depthQuantize: "none" });
  });

  for (const [index, golden] of pipeline.entries()) {
    const { prompt, depth, strength, width, height, steps, guidance } = golden;
    const photo = golden.image ?? golden.photo;
    const source = golden.photo ? "a photo" : golden.image ? "a map and a photo to start from" : "a map";
    test(`from ${source}: "${prompt}", ${steps} steps`, async () => {
      const expected = readTensors(join(goldens, `pipeline_${index}.safetensors`));
      const baseline = inMemory();
      const { steps: events, result } = await collect(
        flux.steps({
          prompt,
          width,
          height,
          steps,
          guidance,
          latents: expected.get("noise") as Float32Array,
          depthImage: depth && exampleImage(depth),
          image: photo && exampleImage(photo),
          imageStrength: strength && 1 - strength,
          withLatents: true,
        }),
      );
      assert.equal(events.length, strength ? Math.trunc(steps * strength) : steps);
      assert.ok(relativeError(events[0]!.latents!.data, expected.get("first_step")!) <= 2e-5);
      assert.ok(relativeError(result.latents.data, expected.get("latents")!) <= 3e-4);
      assert.deepEqual(result.latents.shape, [1, 16, height / 8, width / 8]);
      assert.deepEqual(result.latents, events.at(-1)!.latents);
      const reference = expected.get("image")!;
      const far = result.image.data.filter((level, i) => Math.abs(level - reference[i]!) > 2).length;
      assert.equal(result.image.data.length, reference.length);
      assert.ok(far <= reference.length / 1000, `${far} of ${reference.length} values differ by more than 2`);
      assert.deepEqual(inMemory(), baseline);
    });
  }
});
