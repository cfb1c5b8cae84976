import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig, readText } from "../files/json.js";
import {
  mergesFile,
  tokenizerConfigFile,
  tokenizerFile,
  vocabularyFile,
} from "../files/repository-layout.js";
import { isRecord } from "../record.js";
import { readConfigIfPresent, readSettings, specialTokens } from "./files.js";
import { BPE, ByteLevelPreTokenizer } from "./library.js";
import { type EncodedPrompt, PromptEncoder, type Tokenizer } from "./prompt-encoder.js";

/** The number of positions that CLIP was trained with, used if the folder has no `model_max_length`. */
const trainedLength = 77;

const endOfText = "<|endoftext|>";
const roles = { bos: "<|startoftext|>", eos: endOfText, unk: endOfText, pad: endOfText };

const pieces =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/**
 * The split that belongs to the byte encoding (GPT-2's, without its rules for spaces). It matters for text that looks
 * like a special token but is not recognised as one, such as "<|EndOfText|>": `pieces` keeps it whole, whereas this
 * splits it.
 */
const bytePieces = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** NFC and lowercase. Characters are lowercased one by one, as in the reference, so that a final Σ becomes σ, not ς. */
const normalize = (text: string): string =>
  Array.from(text.normalize("NFC"), (character) => character.toLowerCase()).join("");

interface Vocabulary {
  /** The file named in errors. */
  readonly source: string;
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [string, string])[];
}

function checkVocab(source: string, vocab: unknown): Readonly<Record<string, number>> {
  if (!isRecord(vocab))
    throw new ModelError(source, "expected a vocabulary: an object of tokens with their ids");
  for (const [token, id] of Object.entries(vocab))
    if (!Number.isInteger(id) || (id as number) < 0)
      throw new ModelError(
        source,
        `the id of the token "${token}" is ${JSON.stringify(id)}; expected a whole number from 0 up`,
      );
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
      throw new ModelError(
        source,
        `merge ${index + 1} is ${JSON.stringify(merge)}; expected a pair of tokens`,
      );
    if (![first, second, first + second].every((token) => Object.hasOwn(vocab, token)))
      throw new ModelError(
        source,
        `merge ${index + 1} ("${first} ${second}") needs a token that is not in the vocabulary; ` +
          "vocabulary and merges belong to different models",
      );
    return [first, second];
  });
}

/** Reads `tokenizer.json` if there is one, otherwise `vocab.json` and `merges.txt`. */
function readVocabulary(folder: string, tokenizer: Readonly<Record<string, unknown>> | null): Vocabulary {
  if (tokenizer) {
    const source = join(folder, tokenizerFile);
    const model = tokenizer.model as { type?: unknown; vocab?: unknown; merges?: unknown } | undefined;
    if ((model?.type ?? "BPE") !== "BPE" || !Array.isArray(model?.merges))
      throw new ModelError(source, "expected CLIP's byte-pair tokenizer: a vocabulary and its merges");
    const vocab = checkVocab(source, model.vocab);
    return { source, vocab, merges: checkMerges(source, model.merges, vocab) };
  }
  const source = join(folder, vocabularyFile);
  const vocab = checkVocab(source, readConfig(folder, vocabularyFile));
  const mergesPath = join(folder, mergesFile);
  const lines = readText(folder, mergesFile).split(/\r?\n/);
  const merges = lines.filter((line, index) => line !== "" && !(index === 0 && line.startsWith("#version")));
  return { source, vocab, merges: checkMerges(mergesPath, merges, vocab) };
}

/**
 * CLIP's tokenizer: byte-level BPE of lowercased words (transformers: models/clip/tokenization_clip.py). Its steps are
 * fixed; only the vocabulary, the merges and the special tokens come from the folder.
 */
export class ClipTokenizer implements Tokenizer {
  readonly #encoder: PromptEncoder;

  private constructor(encoder: PromptEncoder) {
    this.#encoder = encoder;
  }

  /** Number of ids of every prompt: `model_max_length`, or 77 if the folder does not have it. */
  get length(): number {
    return this.#encoder.length;
  }

  /**
   * Reads a folder with `tokenizer_config.json` and either `tokenizer.json` or `vocab.json` and `merges.txt`.
   * @param options.positions the maximum number of tokens that the encoder takes; unlimited if absent.
   * @throws {ModelError} naming the file that is missing, malformed, or does not fit the encoder.
   */
  static load(
    folder: string,
    { positions = Number.POSITIVE_INFINITY }: { readonly positions?: number } = {},
  ): ClipTokenizer {
    const tokenizer = readConfigIfPresent(folder, tokenizerFile);
    const { source, vocab, merges } = readVocabulary(folder, tokenizer);
    const settings = readSettings(folder, roles, tokenizer);
    const ids = new Map(Object.entries(vocab));
    const specials = specialTokens(settings.declared, (content) => ids.get(content), source);
    const idOf = (content: string): number => specials.find((token) => token.content === content)!.id;

    const length = settings.maxLength ?? trainedLength;
    if (length < 2)
      throw new ModelError(
        join(folder, tokenizerConfigFile),
        `model_max_length is ${length}; expected at least 2, for the start and end tokens`,
      );

    if (length > positions)
      throw new ModelError(
        join(folder, tokenizerConfigFile),
        `model_max_length is ${length}, but the text encoder has only ${positions} positions`,
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

  /** Encodes a prompt between start and end tokens, truncated or padded to {@link length} ids. */
  encode(prompt: string): EncodedPrompt {
    return this.#encoder.encode(prompt);
  }
}
