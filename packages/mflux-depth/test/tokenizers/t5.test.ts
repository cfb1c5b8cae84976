import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import { T5Tokenizer } from "../../src/tokenizers/t5.js";
import { refused } from "../support/refusals.js";
import {
  bundled,
  type ChangedFiles,
  difficultTexts,
  goldenPrompts,
  padded,
  readJson,
  tokenizerVariants,
} from "../support/tokenizers.js";

const folder = bundled("tokenizer_2");
const t5 = T5Tokenizer.load(folder);
const variant = tokenizerVariants();
const changed = (files: ChangedFiles): string => variant("tokenizer_2", files);

describe("T5's tokenizer", () => {
  test("gives transformers' ids for the golden prompts", () => {
    assert.equal(goldenPrompts.length, 6);
    for (const { text, t5: ids } of goldenPrompts) assert.deepEqual([...t5.encode(text).ids], ids, text);
  });

  test("gives transformers' ids for texts that JavaScript treats differently", async (t) => {
    assert.ok(difficultTexts.length > 90);
    for (const { text, t5: ids } of difficultTexts)
      await t.test(JSON.stringify(text.slice(0, 40)), () =>
        assert.deepEqual([...t5.encode(text).ids], padded(ids, 0, 64)),
      );
  });

  test("encodes a very long word in reasonable time", () => {
    const { ids, truncated } = t5.encode("x,é".repeat(20_000));
    assert.equal(ids[63], 1);
    assert.ok(truncated!.length > 59_000);
  });
});

describe("the length of T5's prompts", () => {
  test("is 64 for the bundled model", () => assert.equal(t5.length, 64));

  for (const [model_max_length, maxSequenceLength, expected] of [
    [undefined, undefined, 512],
    [1e30, undefined, 512],
    [2048, undefined, 512],
    [40, undefined, 40],
    [40, 300, 300],
    [1e30, 7, 7],
  ] as const)
    test(`is ${expected} for a model_max_length of ${model_max_length} and ${maxSequenceLength} requested`, () => {
      const model = changed({ "tokenizer_config.json": { model_max_length } });
      const { ids } = T5Tokenizer.load(model).encode("a cube", maxSequenceLength);
      assert.equal(ids.length, expected);
    });
});

describe("T5's tokenizer refuses", () => {
  const tokenizer = readJson(join(folder, "tokenizer.json"));
  const withModel = (model: object): ChangedFiles => ({ "tokenizer.json": { ...tokenizer, model } });
  const damagedRules = { type: "Precompiled", precompiled_charsmap: "AAEAAA==" };
  const cases: [what: string, files: ChangedFiles, message: RegExp][] = [
    ["a missing tokenizer.json", { "tokenizer.json": null }, /file is missing/],
    ["a tokenizer.json without an object", { "tokenizer.json": "[]" }, /expected a JSON object/],
    ["another kind of tokenizer", withModel({ type: "BPE", vocab: {} }), /unigram/],
    ["a piece without a score", withModel({ vocab: [["a"]], unk_id: 0 }), /piece 0/],
    ["an unk_id outside the vocabulary", withModel({ ...tokenizer.model, unk_id: 9999 }), /unk_id is 9999/],
    [
      "damaged normalization rules",
      { "tokenizer.json": { ...tokenizer, normalizer: damagedRules } },
      /charsmap is damaged/,
    ],
  ];
  for (const [what, files, message] of cases)
    test(what, () => {
      const damaged = changed(files);
      refused(() => T5Tokenizer.load(damaged), join(damaged, "tokenizer.json"), message);
    });

  test("a maxSequenceLength of 0", () => {
    assert.throws(() => t5.encode("a cube", 0), OptionError);
  });
});
