import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWanted } from "../../src/hub/patterns.js";

describe("isWanted", () => {
  for (const [what, file, allow, ignore, expected] of [
    ["matches slashes with *", "a/b/c.json", ["*.json"], [], true],
    ["matches a folder", "a/b/c.json", ["a/"], [], true],
    ["accepts every file without patterns", "a/b/c.json", [], [], true],
    [
      "matches one character with ?, and ranges",
      "model.fp16.safetensors",
      ["model.fp??.safe[r-t]*"],
      [],
      true,
    ],
    ["matches a negated set", "x1", ["x[!0]"], [], true],
    ["refuses a character of a negated set", "x0", ["x[!0]"], [], false],
    ["takes ^ in a set literally", "x^", ["x[^]"], [], true],
    ["matches whole names", "a/b/c.jsonl", ["*.json"], [], false],
    ["matches nothing with a range that runs backwards", "model.bin", ["[z-a]*"], [], false],
    ["matches any character outside a range that runs backwards", "m", ["[!z-a]"], [], true],
    ["leaves out a backward range among other characters", "x1", ["x[z-a1]"], [], true],
    ["takes a hyphen at the end of a set literally", "x-", ["x[a-]"], [], true],
    ["takes a dot literally", "axb", ["a.b"], [], false],
    ["lets ignored patterns take precedence", "a/b.bin", ["*"], ["*.bin"], false],
  ] as const)
    test(what, () => assert.equal(isWanted(file, { allow, ignore }), expected));
});
