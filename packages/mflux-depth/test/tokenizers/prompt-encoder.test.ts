import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ClipTokenizer } from "../../src/tokenizers/clip.js";
import type { Tokenizer } from "../../src/tokenizers/prompt-encoder.js";
import { T5Tokenizer } from "../../src/tokenizers/t5.js";
import { bundled, unpadded } from "../support/tokenizers.js";

const clip = ClipTokenizer.load(bundled("tokenizer"));
const t5 = T5Tokenizer.load(bundled("tokenizer_2"));
/** T5's tokenizer, limited to a number of tokens. */
const t5OfLength = (length: number): Tokenizer => ({ encode: (prompt) => t5.encode(prompt, length) });

describe("a truncated prompt", () => {
  const twelve = t5OfLength(12);
  const exact = "a glossy red cone and a gold sphere, at sunset";

  test("is not reported for a short prompt", () => {
    assert.equal(clip.encode("a cube").truncated, null);
    assert.equal(t5.encode("a cube").truncated, null);
  });

  test("is not reported for a prompt that just fits", () => {
    assert.deepEqual(unpadded(twelve.encode(exact).ids, 0, 0), [4, 8, 47, 21, 12, 4, 42, 20, 3, 56, 50, 1]);
    assert.equal(twelve.encode(exact).truncated, null);
  });

  test("is quoted as typed, without surrounding spaces", () =>
    assert.equal(twelve.encode(`${exact}  Behind\n the  Ωmega wall `).truncated, "Behind\n the  Ωmega wall"));

  test("is quoted from the beginning of the word that is cut", () => {
    // "portrait" has several tokens, and the first would still fit.
    assert.equal(twelve.encode("a a a a a a a a a a portrait, in snow").truncated, "portrait, in snow");
  });

  test("may begin with a special token", () =>
    assert.equal(twelve.encode("a a a a a a a a a a a</s> b").truncated, "</s> b"));

  test("is quoted whole if only the end token fits", () =>
    assert.deepEqual(t5OfLength(1).encode("A cube"), { ids: Int32Array.of(1), truncated: "A cube" }));

  test("is quoted from the beginning of a word in text without spaces", () => {
    const japanese = "日本語の山、雪".repeat(12);
    const { ids, truncated } = clip.encode(japanese);
    assert.equal(ids[76], 863);
    assert.ok(truncated !== null && japanese.endsWith(truncated) && truncated.startsWith("山"));
    const kept = japanese.slice(0, japanese.length - truncated.length);
    assert.equal(clip.encode(kept).truncated, null);
    // One more word fills the prompt: the ids are the same.
    assert.deepEqual(clip.encode(`${kept}山、`).ids, ids);
  });
});
