import { join } from "node:path";
import { ModelError, OptionError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { tokenizerFile } from "../files/repository-layout.js";
import { longestPrompt } from "../options/defaults.js";
import { isRecord } from "../record.js";
import { precompiledCharsmap } from "./charsmap.js";
import { readSettings, specialTokens } from "./files.js";
import { Unigram } from "./library.js";
import { type EncodedPrompt, PromptEncoder, type Tokenizer } from "./prompt-encoder.js";

const roles = { eos: "</s>", unk: "<unk>", pad: "<pad>" };

/** SentencePiece's mark for the beginning of a word, U+2581. */
const mark = "▁";

interface Vocabulary {
  readonly vocab: readonly (readonly [string, number])[];
  /** Id of the unknown token. */
  readonly unknown: number;
  readonly normalize: (text: string) => string;
}

/** Reads the precompiled rules of a `tokenizer.json`, alone or in a sequence; the identity if there are none. */
function readNormalizer(source: string, normalizer: unknown): (text: string) => string {
  const sequence: unknown = (isRecord(normalizer) && normalizer.normalizers) || [normalizer];
  for (const one of Array.isArray(sequence) ? sequence : []) {
    const rules: unknown = one?.type === "Precompiled" ? one.precompiled_charsmap : null;
    if (typeof rules !== "string") continue;
    try {
      return precompiledCharsmap(Buffer.from(rules, "base64"));
    } catch (error) {
      throw new ModelError(source, (error as Error).message, { cause: error });
    }
  }
  return (text) => text;
}

function readVocabulary(source: string, tokenizer: Readonly<Record<string, unknown>>): Vocabulary {
  const model = tokenizer.model as { type?: unknown; vocab?: unknown; unk_id?: unknown } | undefined;
  if ((model?.type ?? "Unigram") !== "Unigram" || !Array.isArray(model?.vocab) || model.vocab.length === 0)
    throw new ModelError(source, "expected T5's unigram tokenizer: pieces with scores");
  for (const [index, entry] of model.vocab.entries())
    if (!Array.isArray(entry) || typeof entry[0] !== "string" || !Number.isFinite(entry[1]))
      throw new ModelError(
        source,
        `piece ${index} of the vocabulary is ${JSON.stringify(entry)}; expected a text with a score`,
      );
  const { vocab, unk_id: unknown } = model;
  if (!Number.isInteger(unknown) || !((unknown as number) in vocab))
    throw new ModelError(
      source,
      `unk_id is ${JSON.stringify(unknown)}; expected the index of a piece of the vocabulary`,
    );
  return { vocab, unknown: unknown as number, normalize: readNormalizer(source, tokenizer.normalizer) };
}

/**
 * T5's tokenizer: SentencePiece unigram (transformers: models/t5/tokenization_t5.py). The vocabulary and the
 * normalization rules come from the folder. The split into words is fixed, whatever `tokenizer.json` says, and treats
 * several spaces as one.
 */
export class T5Tokenizer implements Tokenizer {
  readonly #encoder: PromptEncoder;

  private constructor(encoder: PromptEncoder) {
    this.#encoder = encoder;
  }

  /** Number of ids of a prompt by default: `model_max_length`, but at most 512. */
  get length(): number {
    return this.#encoder.length;
  }

  /**
   * Reads a folder with `tokenizer.json` and `tokenizer_config.json`.
   * @throws {ModelError} naming the file that is missing or malformed.
   */
  static load(folder: string): T5Tokenizer {
    const source = join(folder, tokenizerFile);
    const tokenizer = readConfig(folder, tokenizerFile);
    const { vocab, unknown, normalize } = readVocabulary(source, tokenizer);
    const settings = readSettings(folder, roles, tokenizer);
    const ids = new Map(vocab.map(([piece], id) => [piece, id]));
    const specials = specialTokens(settings.declared, (content) => ids.get(content), source);
    const idOf = (content: string): number => specials.find((token) => token.content === content)!.id;

    const unigram = new Unigram({ type: "Unigram", vocab, unk_id: unknown });
    const tokenize = (text: string): number[] =>
      (text.match(/\P{White_Space}+/gu) ?? [])
        .map((word) => (word.startsWith(mark) ? word : mark + word))
        .flatMap((word) => word.match(/▁[^▁]*/gu) ?? [])
        .flatMap((word) =>
          unigram
            .tokenize(word)
            .map((piece) => ids.get(piece) ?? unknown)
            .filter(notRepeated),
        );
    /** Adjacent unknown characters are one token. */
    const notRepeated = (id: number, index: number, all: readonly number[]): boolean =>
      id !== unknown || all[index - 1] !== unknown;

    return new T5Tokenizer(
      new PromptEncoder({
        specials,
        normalize,
        tokenize,
        start: [],
        end: idOf(settings.roles.eos),
        padding: idOf(settings.roles.pad),
        length: Math.min(longestPrompt, settings.maxLength ?? longestPrompt),
      }),
    );
  }

  /**
   * Encodes a prompt and the end token, truncated or padded.
   * @param maxSequenceLength number of ids; by default {@link length}.
   * @throws {OptionError} if `maxSequenceLength` is not a positive integer.
   */
  encode(prompt: string, maxSequenceLength = this.length): EncodedPrompt {
    if (!(Number.isInteger(maxSequenceLength) && maxSequenceLength > 0))
      throw new OptionError(
        "maxSequenceLength",
        `maxSequenceLength is ${maxSequenceLength}; expected a whole number from 1 up`,
      );
    return this.#encoder.encode(prompt, maxSequenceLength);
  }
}
