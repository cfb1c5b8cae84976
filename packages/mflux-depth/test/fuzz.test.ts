import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { at } from "./support/tensors.js";

const fuzz = at("../../fuzz/dist/main.js");

describe("hostile input is accepted or refused properly", () => {
  // The same cases in every run, about half a minute of them on two cores; `npm run fuzz` tries others.
  for (const [area, cases] of [
    ["images", 500],
    ["models", 50],
    ["prompts", 10],
    ["library", 1200],
    ["flags", 150],
    ["worker", 50],
    ["signals", 5],
    ["hub", 60],
  ] as const)
    test(area, () => {
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [fuzz, area, "--seed", "1", "--cases", `${cases}`, "--minutes", "5"],
        { encoding: "utf8" },
      );
      assert.equal(status, 0, stdout + stderr);
      const [, ran, accepted] = /(\d+) cases, (\d+) accepted/.exec(stdout) ?? [];
      assert.equal(Number(ran), cases, "it ran out of time");
      assert.ok(Number(accepted) > 0, stdout);
    });
});
