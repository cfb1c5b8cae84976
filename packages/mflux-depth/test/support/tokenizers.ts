import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { at } from "./tensors.js";

type TokenizerFolder = "tokenizer" | "tokenizer_2";

/** The bundled model's tokenizer: CLIP's is "tokenizer", T5's "tokenizer_2". */
export const bundled = (folder: TokenizerFolder): string => join(at("models/tiny-world"), folder);

export const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"));

/** A text and its ids, as transformers tokenizes it. */
export interface TokenizedText {
  readonly text: string;
  readonly clip: readonly number[];
  readonly t5: readonly number[];
}

/** Texts for which JavaScript and the reference's libraries differ. Their ids are not padded. */
export const difficultTexts = readJson(at("test/golden/tokenizers.json")).cases as readonly TokenizedText[];

/** The golden prompts, with padded ids. */
export const goldenPrompts = readJson(at("test/golden/index.json")).tokens as readonly TokenizedText[];

/** Pads ids to a length. */
export const padded = (ids: readonly number[], padding: number, length: number): number[] =>
  Array.from({ length }, (_, i) => ids[i] ?? padding);

/** The ids before the padding. CLIP pads with its end token: `keep` of the padding stay. */
export function unpadded(ids: Int32Array, padding: number, keep: number): number[] {
  let end = ids.length;
  while (end > 0 && ids[end - 1] === padding) end--;
  return [...ids.subarray(0, end + keep)];
}

export type ChangedFiles = Readonly<Record<string, string | object | null>>;

/**
 * Makes copies of bundled tokenizers with changed files: an object is written as JSON, and null removes a file. The
 * copies are deleted after the tests of the file.
 */
export function tokenizerVariants(): (folder: TokenizerFolder, files: ChangedFiles) => string {
  const root = mkdtempSync(join(tmpdir(), "mflux-depth-tokenizers-"));
  after(() => rmSync(root, { recursive: true, force: true }));
  return (folder, files) => {
    const copy = mkdtempSync(join(root, "variant-"));
    cpSync(bundled(folder), copy, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      if (content === null) rmSync(join(copy, name));
      else writeFileSync(join(copy, name), typeof content === "string" ? content : JSON.stringify(content));
    }
    return copy;
  };
}
