import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { array, evaluate, type MxArray, memory, multiply } from "@mflux-depth/mlx";
import { type DenoisedStep, denoise } from "../../src/sampling/denoise.js";

const sigmas = Float32Array.of(1, 0.75, 0.25, 0);
const start = (): MxArray => array([8, -4], { shape: [1, 1, 2] });
const valuesOf = (a: MxArray): number[] => [...(a.toTypedArray() as Float32Array)];

/** A velocity that depends on the latents: v(x) = x / 2. */
async function half(latents: MxArray): Promise<MxArray> {
  const velocity = multiply(latents, 0.5);
  await evaluate(velocity);
  return velocity;
}

async function finish(steps: AsyncGenerator<DenoisedStep, MxArray>): Promise<MxArray> {
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

describe("denoising", () => {
  let handles = 0;
  beforeEach(() => {
    handles = memory.liveHandles();
  });
  // Garbage of other tests may be collected during a test.
  afterEach(() => assert.ok(memory.liveHandles() <= handles, "every array is disposed"));

  test("takes one Euler step from each noise level to the next", async () => {
    using latents = await finish(denoise(start(), sigmas, half));
    const factor = (1 - 0.25 / 2) * (1 - 0.5 / 2) * (1 - 0.25 / 2);
    assert.deepEqual(valuesOf(latents), [8 * factor, -4 * factor]);
  });

  test("yields the noise level that each step began at, and the latents after it", async () => {
    const steps = denoise(start(), sigmas, half);
    const seen: [number, number, number, number][] = [];
    let step = await steps.next();
    for (; !step.done; step = await steps.next()) {
      const { index, total, sigma, latents } = step.value;
      seen.push([index, total, sigma, valuesOf(latents)[0]!]);
    }
    step.value.dispose();
    assert.deepEqual(seen, [
      [1, 3, 1, 7],
      [2, 3, 0.75, 5.25],
      [3, 3, 0.25, 4.59375],
    ]);
  });

  test("predicts the clean latents by following the velocity to the end", async () => {
    const steps = denoise(start(), sigmas, half);
    const { value } = await steps.next();
    using clean = (value as DenoisedStep).predictClean();
    // 7 − 0.75 · 4
    assert.equal(valuesOf(clean)[0], 4);
    await steps.return(undefined as never);
  });

  test("returns the start if there are no steps", async () => {
    using latents = await finish(denoise(start(), Float32Array.of(0), half));
    assert.deepEqual(valuesOf(latents), [8, -4]);
  });

  test("disposes everything when the velocity fails", async () => {
    const failing = denoise(start(), sigmas, async (latents, sigma) => {
      if (sigma < 1) throw new Error("no velocity");
      return half(latents);
    });
    await assert.rejects(finish(failing), /no velocity/);
  });

  test("disposes everything when it is left early", async () => {
    const steps = denoise(start(), sigmas, half);
    await steps.next();
    await steps.return(undefined as never);
  });

  test("puts back after each step what must not change, at the noise level reached", async () => {
    const levels: number[] = [];
    const keep = (moved: MxArray, sigma: number): MxArray => {
      levels.push(sigma);
      return multiply(moved, 0);
    };
    using latents = await finish(denoise(start(), sigmas, half, { keep }));
    assert.deepEqual(levels, [...sigmas.slice(1)]);
    assert.ok((latents.toTypedArray() as Float32Array).every((value) => value === 0));
  });

  test("rejects with the signal's reason when it is aborted", async () => {
    const controller = new AbortController();
    const steps = denoise(
      start(),
      sigmas,
      async (latents) => {
        controller.abort(new Error("enough"));
        return half(latents);
      },
      { signal: controller.signal },
    );
    await assert.rejects(finish(steps), /enough/);
  });
});
