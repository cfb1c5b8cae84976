import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { native } from "../src/load.js";

test("native-types.ts equals the types that the addon prints", () => {
  const { describe } = native as unknown as { describe: () => string };
  const source = readFileSync(new URL("../../src/native-types.ts", import.meta.url), "utf8");
  assert.equal(source, describe());
});
