import assert from "node:assert/strict";
import { test } from "node:test";
import { isWanted } from "../../src/hub/patterns.js";

test("patterns mean what they mean in Python", () => {
  const wanted = (file: string, allow: string[], ignore: string[] = []): boolean =>
    isWanted(file, { allow, ignore });
  assert.ok(wanted("a/b/c.json", ["*.json"]) && wanted("a/b/c.json", ["a/"]) && wanted("a/b/c.json", []));
  assert.ok(
    wanted("model.fp16.safetensors", ["model.fp??.safe[r-t]*"]) &&
      wanted("x1", ["x[!0]"]) &&
      wanted("x^", ["x[^]"]),
  );
  assert.ok(!wanted("a/b/c.jsonl", ["*.json"]) && !wanted("axb", ["a.b"]) && !wanted("x0", ["x[!0]"]));
  assert.ok(!wanted("a/b.bin", ["*"], ["*.bin"]));
});
