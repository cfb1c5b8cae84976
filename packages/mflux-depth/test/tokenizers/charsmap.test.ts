import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { precompiledCharsmap } from "../../src/tokenizers/charsmap.js";
import { bundled, readJson } from "../support/tokenizers.js";

describe("precompiledCharsmap", () => {
  const { normalizer } = readJson(join(bundled("tokenizer_2"), "tokenizer.json"));
  const rules = normalizer.normalizers?.[0].precompiled_charsmap ?? normalizer.precompiled_charsmap;
  const normalize = precompiledCharsmap(Buffer.from(rules, "base64"));

  test("replaces a whole grapheme cluster by the rule for its beginning", () =>
    assert.equal(normalize("\ufb01\u0301"), "fi"));

  test("finds clusters wherever they are, across the slices that are segmented", () => {
    for (let before = 250; before < 260; before++)
      assert.equal(normalize(`${"x".repeat(before)}\ufb01\u0301y`), `${"x".repeat(before)}fiy`);
  });
});
