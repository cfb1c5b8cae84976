import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { processor } from "../../src/index.js";
import { measuredBfloat16Speed } from "../../src/nn/attention-speed.js";
import { bfloat16AttentionSpeed, canMultiplyBfloat16 } from "../../src/nn/index.js";

describe("the speed of attention in bfloat16", () => {
  for (const [model, speed] of [
    ["AuthenticAMD-19-11", "faster"],
    ["GenuineIntel-6-8F", "slower"],
    ["GenuineIntel-6-AD", "unmeasured"],
    ["none", "unmeasured"],
  ] as const)
    test(`is ${speed} on ${model}`, () => assert.equal(measuredBfloat16Speed(model), speed));

  test("is unavailable exactly where the instructions are missing", () =>
    assert.equal(bfloat16AttentionSpeed() === "unavailable", !canMultiplyBfloat16()));
});

test("the processor has the vendor, family and model that the system reports", {
  skip: process.platform === "linux" && process.arch === "x64" ? false : "needs Linux on x86-64",
}, () => {
  const system = readFileSync("/proc/cpuinfo", "utf8");
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(system)![1]!;
  const hexadecimal = (name: string): string => Number(field(name)).toString(16).toUpperCase();
  assert.equal(processor(), `${field("vendor_id")}-${hexadecimal("cpu family")}-${hexadecimal("model")}`);
});
