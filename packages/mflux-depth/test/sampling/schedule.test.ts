import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { ModelError } from "../../src/errors.js";
import { modelTime, mu, schedulerConfig, sigmas, startIndex, stepSize } from "../../src/sampling/schedule.js";
import { at } from "../support/tensors.js";

const readJson = (path: string) => JSON.parse(readFileSync(at(path), "utf8"));

const config = schedulerConfig(readJson("models/tiny-world/scheduler/scheduler_config.json"));

/** A schedule of diffusers. */
interface Golden {
  steps: number;
  width: number;
  height: number;
  mu: number;
  sigmas: number[];
}
const goldens: Golden[] = readJson("test/golden/index.json").scheduler;

describe("the schedule agrees with diffusers to the last bit", () => {
  assert.equal(goldens.length, 5);
  for (const { steps, width, height, ...expected } of goldens)
    test(`for ${steps} steps at ${width} × ${height}`, () => {
      const tokens = (width / 16) * (height / 16);
      assert.ok(Math.abs(mu(tokens, config) - expected.mu) <= 1e-12);
      assert.deepEqual([...sigmas(steps, tokens, config)], expected.sigmas.map(Math.fround));
    });
});

describe("mu", () => {
  test("follows the line beyond the config's two points", () => {
    assert.ok(mu(64, config) < 0.5);
    assert.ok(mu(16384, config) > 1.15);
  });
});

describe("sigmas", () => {
  test("have a constant shift without dynamic shifting", () => {
    // shift·σ / (1 + (shift − 1)·σ) with shift 3 at 1, 3/4, 1/2, 1/4.
    const expected = [1, 2.25 / 2.5, 1.5 / 2, 0.75 / 1.5, 0];
    for (const [i, sigma] of sigmas(4, 256, schedulerConfig({ shift: 3 })).entries())
      assert.ok(Math.abs(sigma - expected[i]!) < 1e-7, `${i}`);
  });

  test("have a shift linear in mu if the config says so", () => {
    // mu / (mu + 1/σ − 1) with mu 0.5 (256 tokens) at 1, 1/2.
    const linear = schedulerConfig({
      use_dynamic_shifting: true,
      time_shift_type: "linear",
      base_shift: 0.5,
    });
    const [, second, last] = sigmas(2, 256, linear);
    assert.ok(Math.abs(second! - 0.5 / 1.5) < 1e-7);
    assert.equal(last, 0);
  });

  test("lead from noise to the image in Euler steps", () => {
    const levels = sigmas(7, 320, config);
    let total = 0;
    for (let i = 0; i < 7; i++) total += stepSize(levels[i]!, levels[i + 1]!);
    assert.ok(Math.abs(total + 1) < 1e-6);
  });
});

describe("a scheduler's config is refused for", () => {
  for (const [key, value] of [
    ["base_shift", 16777215],
    ["max_shift", -16777215],
    ["shift", 0],
    ["shift", 1e6],
    ["base_image_seq_len", 0],
    ["max_image_seq_len", 0.5],
    ["num_train_timesteps", 0],
  ] as const)
    test(`${key} ${value}`, () => {
      assert.throws(
        () => schedulerConfig({ [key]: value }),
        (error) => error instanceof ModelError && error.message.includes(`"${key}" is ${value}`),
      );
    });
});

describe("sigmas are refused when they do not fall from noise to the image:", () => {
  const dynamic = { use_dynamic_shifting: true };
  for (const [what, json, tokens] of [
    ["both points of the line at the same size", { base_image_seq_len: 4096 }, 256],
    ["a line so steep that exp(mu) overflows", { max_image_seq_len: 257 }, 4096],
    ["a linear shift below zero", { time_shift_type: "linear", base_shift: -0.5 }, 256],
  ] as const)
    test(what, () => {
      assert.throws(
        () => sigmas(4, tokens, schedulerConfig({ ...dynamic, ...json })),
        (error) => error instanceof RangeError && /noise levels that do not decrease/.test(error.message),
      );
    });
});

describe("the model's time", () => {
  test("is the sigma, up to rounding", () => {
    assert.ok(Math.abs(modelTime(0.92238, config) - 0.92238) < 1e-7);
  });
});

describe("a generation from a photo starts where diffusers does", () => {
  // int(max(n − min(n·strength, n), 0)) in Python.
  const tenSteps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

  test("at each tenth of ten steps", () => {
    assert.deepEqual(
      tenSteps.map((i) => startIndex(10, i / 10)),
      tenSteps,
    );
  });

  for (const [steps, imageStrength, expected] of [
    [20, 0.3, 6],
    [25, 0.3, 7],
    [8, 0.3, 2],
    // In binary, 1 − 0.42 differs from 0.58; diffusers gives 21 for 0.58 and 29 for 0.42.
    [50, 0.42, 21],
    [50, 0.58, 29],
    [1, 0.99, 0],
    [1, 1, 1],
  ] as const)
    test(`at ${imageStrength} of ${steps} steps`, () => {
      assert.equal(startIndex(steps, imageStrength), expected);
    });
});

describe("a scheduler's config", () => {
  const refusals: [name: string, json: unknown, message: RegExp][] = [
    ["another scheduler", { _class_name: "DDIMScheduler" }, /^s\.json: it is the config of "DDIMScheduler"/],
    ["sigmas of another kind", { use_karras_sigmas: true }, /"use_karras_sigmas" is true; .* needs false/],
    ["a terminal shift", { shift_terminal: 0.02 }, /"shift_terminal" is 0\.02/],
    ["a number as text", { shift: "3" }, /"shift" is "3"; a flow-matching Euler scheduler needs a number/],
    ["an unknown kind of shift", { time_shift_type: "cubic" }, /"time_shift_type" is "cubic"/],
    ["a list", [], /not a JSON object/],
  ];
  for (const [name, json, message] of refusals)
    test(`is refused with ${name}`, () => {
      assert.throws(
        () => schedulerConfig(json, "s.json"),
        (error) => error instanceof ModelError && message.test(error.message),
      );
    });

  test("may switch off unsupported settings", () => {
    assert.deepEqual(
      schedulerConfig({ use_karras_sigmas: false, shift_terminal: null }),
      schedulerConfig({}),
    );
  });
});
