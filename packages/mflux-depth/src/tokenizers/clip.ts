import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readJson, readJsonIfPresent, readSettings, readText, specialTokens } from "./files.js";
import { BPE, ByteLevelPreTokenizer } from "./library.js";
import { type EncodedPrompt, PromptEncoder } from "./prompt-encoder.js";

/** The positions that CLIP was trained with, for folders that do not say `model_max_length`. */
const trainedLength = 77;

const endOfText = "<|endoftext|>";
const roles = { bos: "<|startoftext|>", eos: endOfText, unk: endOfText, pad: endOfText };

const pieces =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/**
 * The split that comes with the byte encoding (GPT-2's, less its rules for spaces). It matters for a special token
 * that is not parsed as one, "<|EndOfText|>": `pieces` keeps it whole, this one takes it apart.
 */
const bytePieces = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** NFC and lowercase; character by character, as the reference does, so that a final Σ becomes σ and not ς. */
const normalize = (text: string): string =>
  Array.from(text.normalize("NFC"), (character) => character.toLowerCase()).join("");

interface Vocabulary {
  /** The file to name in errors. */
  readonly source: string;
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [string, string])[];
}

function checkVocab(source: string, vocab: unknown): Readonly<Record<string, number>> {
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab))
    throw new ModelError(source, "should hold an object of tokens and their ids, and does not");
  for (const [token, id] of Object.entries(vocab))
    if (!Number.isInteger(id) || id < 0)
      throw new ModelError(source, `the token "${token}" has no id but ${JSON.stringify(id)}`);
  return vocab as Readonly<Record<string, number>>;
}

function checkMerges(
  source: string,
  merges: readonly unknown[],
  vocab: Readonly<Record<string, number>>,
): readonly (readonly [string, string])[] {
  return merges.map((merge, index) => {
    const pair: readonly unknown[] = typeof merge === "string" ? merge.split(" ") : [merge].flat();
    const [first, second] = pair;
    if (pair.length !== 2 || typeof first !== "string" || typeof second !== "string")
      throw new ModelError(source, `merge ${index + 1} is not a pair of tokens: ${JSON.stringify(merge)}`);
    if (![first, second, first + second].every((token) => Object.hasOwn(vocab, token)))
      throw new ModelError(
        source,
        `merge ${index + 1} ("${first} ${second}") makes a token that is not in the vocabulary; ` +
          "the two belong to different models",
      );
    return [first, second];
  });
}

/** `tokenizer.json` where the folder has one, else `vocab.json` and `merges.txt`. */
async function readVocabulary(
  folder: string,
  tokenizer: Readonly<Record<string, unknown>> | null,
): Promise<Vocabulary> {
  if (tokenizer) {
    const source = join(folder, "tokenizer.json");
    const model = tokenizer.model as { type?: unknown; vocab?: unknown; merges?: unknown } | undefined;
    if ((model?.type ?? "BPE") !== "BPE" || !Array.isArray(model?.merges))
      throw new ModelError(
        source,
        "should hold CLIP's byte-pair tokenizer (a vocabulary and its merges), and does not",
      );
    const vocab = checkVocab(source, model.vocab);
    return { source, vocab, merges: checkMerges(source, model.merges, vocab) };
  }
  const source = join(folder, "vocab.json");
  const vocab = checkVocab(source, await readJson(source));
  const mergesFile = join(folder, "merges.txt");
  const lines = (await readText(mergesFile)).split(/\r?\n/);
  const merges = lines.filter((line, index) => line !== "" && !(index === 0 && line.startsWith("#version")));
  return { source, vocab, merges: checkMerges(mergesFile, merges, vocab) };
}

/**
 * CLIP's tokenizer: byte-level BPE of lowercased words (transformers: models/clip/tokenization_clip.py, whose pipeline
 * is fixed; only vocabulary, merges and special tokens come from the folder).
 */
export class ClipTokenizer {
  readonly #encoder: PromptEncoder;

  private constructor(encoder: PromptEncoder) {
    this.#encoder = encoder;
  }

  /** Number of ids of every prompt: `model_max_length`, 77 where the folder does not say. */
  get length(): number {
    return this.#encoder.length;
  }

  /**
   * Reads a folder with `tokenizer_config.json` and either `tokenizer.json` or `vocab.json` and `merges.txt`.
   * @throws {ModelError} that names the file which is missing or malformed.
   */
  static async load(folder: string): Promise<ClipTokenizer> {
    const tokenizer = await readJsonIfPresent(join(folder, "tokenizer.json"));
    const { source, vocab, merges } = await readVocabulary(folder, tokenizer);
    const settings = await readSettings(folder, roles, tokenizer);
    const ids = new Map(Object.entries(vocab));
    const specials = specialTokens(settings.declared, (content) => ids.get(content), source);
    const idOf = (content: string): number => specials.find((token) => token.content === content)!.id;

    const length = settings.maxLength ?? trainedLength;
    if (length < 2)
      throw new ModelError(
        join(folder, "tokenizer_config.json"),
        `model_max_length is ${length}; start and end tokens alone need 2`,
      );

    const unknown = idOf(settings.roles.unk);
    const bpe = new BPE({
      type: "BPE",
      vocab,
      merges,
      unk_token: settings.roles.unk,
      end_of_word_suffix: "</w>",
    });
    const bytes = new ByteLevelPreTokenizer({ type: "ByteLevel", add_prefix_space: false, use_regex: false });
    const tokenize = (word: string): number[] => {
      const split = (word.match(pieces) ?? []).flatMap((piece) => piece.match(bytePieces) ?? []);
      const encoded = split.flatMap((piece) => bytes.pre_tokenize_text(piece));
      return bpe.encode(encoded).map((token) => ids.get(token) ?? unknown);
    };

    return new ClipTokenizer(
      new PromptEncoder({
        specials,
        normalize,
        tokenize,
        start: [idOf(settings.roles.bos)],
        end: idOf(settings.roles.eos),
        padding: idOf(settings.roles.pad),
        length,
      }),
    );
  }

  /** The prompt between start and end tokens, truncated or padded to {@link length}. */
  encode(prompt: string): EncodedPrompt {
    return this.#encoder.encode(prompt);
  }
}
