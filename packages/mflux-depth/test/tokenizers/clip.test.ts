import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ClipTokenizer } from "../../src/tokenizers/clip.js";
import { makePipe, withoutPipes } from "../support/pipes.js";
import { refused } from "../support/refusals.js";
import {
  bundled,
  type ChangedFiles,
  difficultTexts,
  goldenPrompts,
  padded,
  readJson,
  tokenizerVariants,
  unpadded,
} from "../support/tokenizers.js";

const folder = bundled("tokenizer");
const clip = ClipTokenizer.load(folder);
const variant = tokenizerVariants();
const changed = (files: ChangedFiles): string => variant("tokenizer", files);

describe("CLIP's tokenizer", () => {
  test("gives transformers' ids for the golden prompts", () => {
    assert.equal(goldenPrompts.length, 6);
    for (const { text, clip: ids } of goldenPrompts) assert.deepEqual([...clip.encode(text).ids], ids, text);
  });

  test("gives transformers' ids for texts that JavaScript treats differently", async (t) => {
    assert.ok(difficultTexts.length > 90);
    for (const { text, clip: ids } of difficultTexts)
      await t.test(JSON.stringify(text.slice(0, 40)), () =>
        assert.deepEqual([...clip.encode(text).ids], padded(ids, 863, 77)),
      );
  });

  test("reads a tokenizer.json like vocab.json and merges.txt", () => {
    const vocab = readJson(join(folder, "vocab.json"));
    const merges = readFileSync(join(folder, "merges.txt"), "utf8").trim().split("\n").slice(1);
    for (const list of [merges, merges.map((merge) => merge.split(" "))]) {
      const same = ClipTokenizer.load(
        changed({
          "tokenizer.json": {
            added_tokens: [
              { id: 862, content: "<|startoftext|>", normalized: false, special: true },
              { id: 863, content: "<|endoftext|>", normalized: false, special: true },
            ],
            model: { type: "BPE", vocab, merges: list },
          },
          "vocab.json": null,
          "merges.txt": null,
          "special_tokens_map.json": null,
        }),
      );
      for (const { text } of difficultTexts) assert.deepEqual(same.encode(text), clip.encode(text));
    }
  });
});

describe("the length of CLIP's prompts", () => {
  test("is 77 for the bundled model", () => assert.equal(clip.length, 77));

  test("is 77 for a folder without a usable model_max_length", () => {
    const unlimited = changed({ "tokenizer_config.json": { model_max_length: 1e30 } });
    assert.equal(ClipTokenizer.load(unlimited).length, 77);
  });

  test("follows the folder", () => {
    const short = changed({ "tokenizer_config.json": { model_max_length: 5 } });
    const { ids, truncated } = ClipTokenizer.load(short).encode("a red cube and a gold sphere");
    assert.deepEqual([...ids], [862, 353, 670, 582, 863]);
    assert.equal(truncated, "and a gold sphere");
  });
});

describe("CLIP's special tokens", () => {
  test("include the folder's padding token", () => {
    const exclamation = changed({
      "tokenizer_config.json": { model_max_length: 6, pad_token: "!" },
      "special_tokens_map.json": null,
    });
    assert.deepEqual([...ClipTokenizer.load(exclamation).encode("a").ids], [862, 353, 863, 33, 33, 33]);
  });

  test("are found in normalized text if they are declared as normalized", () => {
    const config = readJson(join(folder, "tokenizer_config.json"));
    const declared = ClipTokenizer.load(
      changed({
        "tokenizer_config.json": {
          ...config,
          added_tokens_decoder: {
            862: { content: "<|startoftext|>", normalized: true, special: true },
            863: { content: "<|endoftext|>", normalized: false, special: true },
          },
        },
      }),
    );
    const idsOf = (text: string): number[] => unpadded(declared.encode(text).ids, 863, 1);
    // From transformers with the same files.
    assert.deepEqual(idsOf("a<|StartOfText|>b"), [862, 353, 862, 354, 863]);
    assert.deepEqual(
      idsOf("<|ENDOFTEXT|>"),
      [862, 60, 380, 101, 726, 111, 102, 116, 101, 120, 372, 124, 318, 863],
    );
  });
});

describe("CLIP's tokenizer refuses", () => {
  const cases: [what: string, files: ChangedFiles, file: string, message: RegExp][] = [
    ["a missing vocabulary", { "vocab.json": null }, "vocab.json", /file is missing/],
    ["missing merges", { "merges.txt": null }, "merges.txt", /file is missing/],
    ["a missing config", { "tokenizer_config.json": null }, "tokenizer_config.json", /file is missing/],
    ["a vocabulary that is not JSON", { "vocab.json": '{"a": 0' }, "vocab.json", /not valid JSON/],
    ["an id that is not a number", { "vocab.json": { a: "0" } }, "vocab.json", /id of the token "a" is "0"/],
    ["a merge of one token", { "merges.txt": "#version: 0.2\ng h\ngh\n" }, "merges.txt", /merge 2/],
    ["a merge of unknown tokens", { "merges.txt": "g q\n" }, "merges.txt", /not in the vocabulary/],
    [
      "another kind of tokenizer",
      { "tokenizer.json": { model: { type: "Unigram" } } },
      "tokenizer.json",
      /byte-pair/,
    ],
    [
      "an unknown special token",
      { "special_tokens_map.json": { bos_token: "<start>" } },
      "vocab.json",
      /"<start>" is not in the vocabulary/,
    ],
    [
      "a length without room for the start and end tokens",
      { "tokenizer_config.json": { model_max_length: 1 } },
      "tokenizer_config.json",
      /model_max_length is 1/,
    ],
  ];
  for (const [what, files, file, message] of cases)
    test(what, () => {
      const damaged = changed(files);
      refused(() => ClipTokenizer.load(damaged), join(damaged, file), message);
    });
});

for (const name of ["vocab.json", "merges.txt", "special_tokens_map.json"])
  test(`refuses ${name} that is a pipe, without waiting for a writer`, { skip: withoutPipes }, () => {
    const copy = changed({});
    rmSync(join(copy, name), { force: true });
    makePipe(join(copy, name));
    refused(() => ClipTokenizer.load(copy), join(copy, name), /is a pipe, a device/);
  });
