import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ModelError, OptionError } from "../../src/errors.js";
import { precompiledCharsmap } from "../../src/tokenizers/charsmap.js";
import { ClipTokenizer } from "../../src/tokenizers/clip.js";
import { T5Tokenizer } from "../../src/tokenizers/t5.js";
import { makePipe, withoutPipes } from "../support/pipes.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const bundled = join(root, "models/tiny-world");
const golden = async (name: string) => JSON.parse(await readFile(join(root, "test/golden", name), "utf8"));

interface Case {
  text: string;
  clip: number[];
  t5: number[];
}

let scratch: string;
let clip: ClipTokenizer;
let t5: T5Tokenizer;

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), "mflux-depth-tokenizers-"));
  clip = await ClipTokenizer.load(join(bundled, "tokenizer"));
  t5 = await T5Tokenizer.load(join(bundled, "tokenizer_2"));
});
after(() => rm(scratch, { recursive: true, force: true }));

/** A copy of a bundled tokenizer's folder with other files in it; null takes one away. */
async function variant(
  folder: "tokenizer" | "tokenizer_2",
  files: Record<string, string | object | null>,
): Promise<string> {
  const copy = await mkdtemp(join(scratch, "variant-"));
  await cp(join(bundled, folder), copy, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    if (content === null) await rm(join(copy, name));
    else await writeFile(join(copy, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return copy;
}

const readBundled = async (path: string) => JSON.parse(await readFile(join(bundled, path), "utf8"));

/** Ids without padding; CLIP pads with its end token, so the first of the run stays. */
const unpadded = (ids: Int32Array, padding: number, keep: number): number[] => {
  let end = ids.length;
  while (end > 0 && ids[end - 1] === padding) end--;
  return [...ids.subarray(0, end + keep)];
};

test("the padded ids of the golden prompts are transformers'", async () => {
  const { tokens }: { tokens: Case[] } = await golden("index.json");
  assert.equal(tokens.length, 6);
  for (const { text, clip: clipIds, t5: t5Ids } of tokens) {
    assert.deepEqual([...clip.encode(text).ids], clipIds, text);
    assert.deepEqual([...t5.encode(text).ids], t5Ids, text);
  }
});

test("so are those of texts where JavaScript and the libraries differ", async (t) => {
  const { cases }: { cases: Case[] } = await golden("tokenizers.json");
  assert.ok(cases.length > 90);
  const padded = (ids: number[], padding: number, length: number) =>
    Array.from({ length }, (_, i) => ids[i] ?? padding);
  for (const { text, clip: clipIds, t5: t5Ids } of cases)
    await t.test(JSON.stringify(text.slice(0, 40)), () => {
      assert.deepEqual([...clip.encode(text).ids], padded(clipIds, 863, 77));
      assert.deepEqual([...t5.encode(text).ids], padded(t5Ids, 0, 64));
    });
});

test("lengths follow the folder, T5's at most 512 unless asked for", async () => {
  assert.equal(clip.length, 77);
  assert.equal(t5.length, 64);
  const t5Length = async (model_max_length: unknown, maxSequenceLength?: number) =>
    (
      await T5Tokenizer.load(
        await variant("tokenizer_2", { "tokenizer_config.json": { model_max_length } }),
        { maxSequenceLength },
      )
    ).length;
  assert.equal(await t5Length(undefined), 512);
  assert.equal(await t5Length(1e30), 512);
  assert.equal(await t5Length(2048), 512);
  assert.equal(await t5Length(40), 40);
  assert.equal(await t5Length(40, 300), 300);
  assert.equal(await t5Length(1e30, 7), 7);
  const unsaid = await variant("tokenizer", { "tokenizer_config.json": { model_max_length: 1e30 } });
  assert.equal((await ClipTokenizer.load(unsaid)).length, 77);
  const short = await variant("tokenizer", { "tokenizer_config.json": { model_max_length: 5 } });
  const { ids, truncated } = (await ClipTokenizer.load(short)).encode("a red cube and a gold sphere");
  assert.deepEqual([...ids], [862, 353, 670, 582, 863]);
  assert.equal(truncated, "and a gold sphere");
});

test("what did not fit is quoted as typed, from the beginning of a word", async () => {
  assert.equal(clip.encode("a cube").truncated, null);
  assert.equal(t5.encode("a cube").truncated, null);

  const twelve = await T5Tokenizer.load(join(bundled, "tokenizer_2"), { maxSequenceLength: 12 });
  const whole = "a glossy red cone and a gold sphere, at sunset";
  assert.deepEqual(unpadded(twelve.encode(whole).ids, 0, 0), [4, 8, 47, 21, 12, 4, 42, 20, 3, 56, 50, 1]);
  assert.equal(twelve.encode(whole).truncated, null);
  assert.equal(twelve.encode(`${whole}  Behind\n the  Ωmega wall `).truncated, "Behind\n the  Ωmega wall");
  // "portrait" takes several tokens, of which the first would still have fitted.
  assert.equal(twelve.encode("a a a a a a a a a a portrait, in snow").truncated, "portrait, in snow");
  assert.equal(twelve.encode("a a a a a a a a a a a</s> b").truncated, "</s> b");

  const one = await T5Tokenizer.load(join(bundled, "tokenizer_2"), { maxSequenceLength: 1 });
  assert.deepEqual(one.encode("A cube"), { ids: Int32Array.of(1), truncated: "A cube" });

  const japanese = "日本語の山、雪".repeat(12);
  const { ids, truncated } = clip.encode(japanese);
  assert.equal(ids[76], 863);
  assert.ok(truncated !== null && japanese.endsWith(truncated) && truncated.startsWith("山"));
  // What was kept, and one word more, encodes to the same ids.
  const kept = japanese.slice(0, japanese.length - truncated.length);
  assert.equal(clip.encode(kept).truncated, null);
  assert.deepEqual(clip.encode(`${kept}山、`).ids, ids);
});

test("a grapheme cluster is normalized as one wherever it lies", async () => {
  const { normalizer } = await readBundled("tokenizer_2/tokenizer.json");
  const normalize = precompiledCharsmap(
    Buffer.from(
      normalizer.normalizers?.[0].precompiled_charsmap ?? normalizer.precompiled_charsmap,
      "base64",
    ),
  );
  // The rule for the ligature replaces the whole cluster, accent and all.
  assert.equal(normalize("\ufb01\u0301"), "fi");
  for (let before = 250; before < 260; before++)
    assert.equal(normalize(`${"x".repeat(before)}\ufb01\u0301y`), `${"x".repeat(before)}fiy`);
});

test("an endless word takes no endless time", () => {
  const { ids, truncated } = t5.encode("x,é".repeat(20_000));
  assert.equal(ids[63], 1);
  assert.ok(truncated!.length > 59_000);
});

test("CLIP's padding token is the folder's", async () => {
  const folder = await variant("tokenizer", {
    "tokenizer_config.json": { model_max_length: 6, pad_token: "!" },
    "special_tokens_map.json": null,
  });
  assert.deepEqual([...(await ClipTokenizer.load(folder)).encode("a").ids], [862, 353, 863, 33, 33, 33]);
});

test("a special token that is declared as normalized is found in normalized text", async () => {
  const config = await readBundled("tokenizer/tokenizer_config.json");
  const folder = await variant("tokenizer", {
    "tokenizer_config.json": {
      ...config,
      added_tokens_decoder: {
        862: { content: "<|startoftext|>", normalized: true, special: true },
        863: { content: "<|endoftext|>", normalized: false, special: true },
      },
    },
  });
  const declared = await ClipTokenizer.load(folder);
  const idsOf = (text: string) => unpadded(declared.encode(text).ids, 863, 1);
  // From transformers with the same files.
  assert.deepEqual(idsOf("a<|StartOfText|>b"), [862, 353, 862, 354, 863]);
  assert.deepEqual(
    idsOf("<|ENDOFTEXT|>"),
    [862, 60, 380, 101, 726, 111, 102, 116, 101, 120, 372, 124, 318, 863],
  );
});

test("a tokenizer.json is as good as vocab.json and merges.txt", async () => {
  const vocab = await readBundled("tokenizer/vocab.json");
  const merges = (await readFile(join(bundled, "tokenizer/merges.txt"), "utf8")).trim().split("\n").slice(1);
  const { cases }: { cases: Case[] } = await golden("tokenizers.json");
  for (const list of [merges, merges.map((merge) => merge.split(" "))]) {
    const folder = await variant("tokenizer", {
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
    });
    const same = await ClipTokenizer.load(folder);
    for (const { text } of cases) assert.deepEqual(same.encode(text), clip.encode(text));
  }
});

test("missing and malformed files are named", async () => {
  const loadClip = (folder: string) => ClipTokenizer.load(folder);
  const loadT5 = (folder: string) => T5Tokenizer.load(folder);
  const fails = async (
    load: (folder: string) => Promise<unknown>,
    folder: string,
    file: string,
    says: RegExp,
  ) => {
    await assert.rejects(load(folder), (error) => {
      assert.ok(error instanceof ModelError);
      assert.equal(error.source, join(folder, file));
      assert.match(error.message, says);
      return true;
    });
  };
  const clipWith = (files: Record<string, string | object | null>) => variant("tokenizer", files);
  const t5With = (files: Record<string, string | object | null>) => variant("tokenizer_2", files);

  await fails(loadClip, await clipWith({ "vocab.json": null }), "vocab.json", /no such file/);
  await fails(loadClip, await clipWith({ "merges.txt": null }), "merges.txt", /no such file/);
  await fails(
    loadClip,
    await clipWith({ "tokenizer_config.json": null }),
    "tokenizer_config.json",
    /no such/,
  );
  await fails(loadClip, await clipWith({ "vocab.json": '{"a": 0' }), "vocab.json", /not JSON/);
  await fails(loadClip, await clipWith({ "vocab.json": { a: "0" } }), "vocab.json", /"a" has no id/);
  await fails(
    loadClip,
    await clipWith({ "merges.txt": "#version: 0.2\ng h\ngh\n" }),
    "merges.txt",
    /merge 2/,
  );
  await fails(loadClip, await clipWith({ "merges.txt": "g q\n" }), "merges.txt", /not in the vocabulary/);
  await fails(
    loadClip,
    await clipWith({ "tokenizer.json": { model: { type: "Unigram" } } }),
    "tokenizer.json",
    /byte-pair/,
  );
  await fails(
    loadClip,
    await clipWith({ "special_tokens_map.json": { bos_token: "<start>" } }),
    "vocab.json",
    /"<start>" is not in the vocabulary/,
  );
  await fails(
    loadClip,
    await clipWith({ "tokenizer_config.json": { model_max_length: 1 } }),
    "tokenizer_config.json",
    /model_max_length is 1/,
  );

  const tokenizer = await readBundled("tokenizer_2/tokenizer.json");
  const withModel = (model: object) => t5With({ "tokenizer.json": { ...tokenizer, model } });
  await fails(loadT5, await t5With({ "tokenizer.json": null }), "tokenizer.json", /no such file/);
  await fails(loadT5, await t5With({ "tokenizer.json": "[]" }), "tokenizer.json", /JSON object/);
  await fails(loadT5, await withModel({ type: "BPE", vocab: {} }), "tokenizer.json", /unigram/);
  await fails(loadT5, await withModel({ vocab: [["a"]], unk_id: 0 }), "tokenizer.json", /piece 0/);
  await fails(
    loadT5,
    await withModel({ ...tokenizer.model, unk_id: 9999 }),
    "tokenizer.json",
    /unk_id is 9999/,
  );
  await fails(
    loadT5,
    await t5With({
      "tokenizer.json": {
        ...tokenizer,
        normalizer: { type: "Precompiled", precompiled_charsmap: "AAEAAA==" },
      },
    }),
    "tokenizer.json",
    /charsmap is damaged/,
  );
  await assert.rejects(T5Tokenizer.load(join(bundled, "tokenizer_2"), { maxSequenceLength: 0 }), OptionError);
});

for (const [name, folder, load] of [
  ["vocab.json", "tokenizer", (path: string) => ClipTokenizer.load(path)],
  ["merges.txt", "tokenizer", (path: string) => ClipTokenizer.load(path)],
  ["special_tokens_map.json", "tokenizer", (path: string) => ClipTokenizer.load(path)],
  ["tokenizer.json", "tokenizer_2", (path: string) => T5Tokenizer.load(path)],
] as const)
  test(`a tokenizer refuses ${name} that is a pipe, without waiting for a writer`, {
    skip: withoutPipes,
    timeout: 5000,
  }, async () => {
    const copy = await variant(folder, {});
    await rm(join(copy, name), { force: true });
    makePipe(join(copy, name));
    await assert.rejects(load(copy), (error) => {
      assert.ok(error instanceof ModelError, String(error));
      assert.equal(error.source, join(copy, name));
      assert.match(error.message, /is a pipe, a device/);
      return true;
    });
  });
