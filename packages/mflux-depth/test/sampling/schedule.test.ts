import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ModelError } from "../../src/errors.js";
import { modelTime, mu, schedulerConfig, sigmas, startIndex, stepSize } from "../../src/sampling/schedule.js";

const here = new URL("../../../test/golden/", import.meta.url);
const tinyWorld = new URL("../../../models/tiny-world/scheduler/scheduler_config.json", import.meta.url);
const config = schedulerConfig(JSON.parse(readFileSync(tinyWorld, "utf8")));

interface Golden {
  steps: number;
  width: number;
  height: number;
  mu: number;
  sigmas: number[];
}
const goldens: Golden[] = JSON.parse(readFileSync(new URL("index.json", here), "utf8")).scheduler;

test("sigmas and mu are those of diffusers to the last bit", () => {
  assert.equal(goldens.length, 5);
  for (const golden of goldens) {
    const tokens = (golden.width / 16) * (golden.height / 16);
    assert.ok(Math.abs(mu(tokens, config) - golden.mu) <= 1e-12);
    assert.deepEqual([...sigmas(golden.steps, tokens, config)], golden.sigmas.map(Math.fround));
  }
});

test("the shift is not clamped outside the config's two points", () => {
  assert.ok(mu(64, config) < 0.5);
  assert.ok(mu(16384, config) > 1.15);
});

test("constant and linear shifts", () => {
  // By hand: shift·s / (1 + (shift − 1)·s) with shift 3 at 1, 3/4, 1/2, 1/4.
  const constant = sigmas(4, 256, schedulerConfig({ shift: 3 }));
  const expected = [1, 2.25 / 2.5, 1.5 / 2, 0.75 / 1.5, 0];
  for (const [i, sigma] of constant.entries()) assert.ok(Math.abs(sigma - expected[i]!) < 1e-7, `${i}`);
  // mu / (mu + 1/s − 1) with mu 0.5 (256 tokens) at 1, 1/2.
  const linear = sigmas(
    2,
    256,
    schedulerConfig({ use_dynamic_shifting: true, time_shift_type: "linear", base_shift: 0.5 }),
  );
  assert.ok(Math.abs(linear[1]! - 0.5 / 1.5) < 1e-7);
  assert.equal(linear[2], 0);
});

test("a config for something else is refused", () => {
  assert.throws(
    () => schedulerConfig({ _class_name: "DDIMScheduler" }, "s.json"),
    /^ModelError: s.json: it is the config of "DDIMScheduler"/,
  );
  assert.throws(() => schedulerConfig({ use_karras_sigmas: true }), ModelError);
  assert.throws(
    () => schedulerConfig({ shift: "3" }),
    /"shift" is "3"; a flow-matching Euler scheduler needs a number/,
  );
  assert.throws(() => schedulerConfig([]), ModelError);
  assert.throws(() => schedulerConfig({ time_shift_type: "cubic" }), ModelError);
});

test("Euler's steps lead from noise to the picture", () => {
  const levels = sigmas(7, 320, config);
  let total = 0;
  for (let i = 0; i < 7; i++) total += stepSize(levels[i]!, levels[i + 1]!);
  assert.ok(Math.abs(total + 1) < 1e-6);
  assert.ok(Math.abs(modelTime(0.92238, config) - 0.92238) < 1e-7);
});

test("image to image starts where diffusers does", () => {
  // int(max(n − min(n·strength, n), 0)) with strength 1, 0.9 … 0, in Python.
  const tenSteps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  assert.deepEqual(
    tenSteps.map((i) => startIndex(10, i / 10)),
    tenSteps,
  );
  assert.equal(startIndex(20, 0.3), 6);
  assert.equal(startIndex(25, 0.3), 7);
  assert.equal(startIndex(8, 0.3), 2);
  // 1 − 0.42 is not 0.58 in binary; diffusers gives 21 for 0.58 and 29 for 0.42.
  assert.equal(startIndex(50, 0.42), 21);
  assert.equal(startIndex(50, 0.58), 29);
  assert.equal(startIndex(1, 0.99), 0);
  assert.equal(startIndex(1, 1), 1);
});
