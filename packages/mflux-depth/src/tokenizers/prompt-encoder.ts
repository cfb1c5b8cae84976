import type { SpecialToken } from "./files.js";

/** A prompt in a text encoder's form. */
export interface EncodedPrompt {
  /** `[length]`: the start token if the model has one, the prompt's tokens, the end token, padding. */
  readonly ids: Int32Array;
  /** The end of the prompt that did not fit, as typed; null if everything fit. */
  readonly truncated: string | null;
}

/** Encodes prompts for one text encoder. */
export interface Tokenizer {
  /**
   * Encodes a prompt.
   * @param maxSequenceLength how many ids to return; by default the tokenizer's own number. Tokenizers of encoders that
   * always take the same number ignore it.
   */
  encode(prompt: string, maxSequenceLength?: number): EncodedPrompt;
}

export interface PromptEncoderOptions {
  readonly specials: readonly SpecialToken[];
  readonly normalize: (text: string) => string;
  /** Turns normalized text without special tokens into ids. */
  readonly tokenize: (text: string) => readonly number[];
  /** Ids placed before the prompt's. */
  readonly start: readonly number[];
  readonly end: number;
  readonly padding: number;
  /** The number of ids of a result, unless the caller asks for another. */
  readonly length: number;
}

/** A stretch of the prompt that is encoded separately. */
interface Unit {
  /** Its position in the prompt. */
  readonly offset: number;
  readonly text: string;
  readonly ids: readonly number[];
  readonly special: boolean;
}

/** A pattern for any of the contents, preferring longer ones; null if there are none. */
function patternOf(contents: readonly string[]): RegExp | null {
  if (contents.length === 0) return null;
  const escaped = [...contents]
    .sort((a, b) => b.length - a.length)
    .map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return new RegExp(`(${escaped.join("|")})`, "u");
}

/**
 * The steps that both tokenizers share. Special tokens are found in the prompt as typed. The rest is split at spaces,
 * which separate words in both tokenizers and survive every normalization; the words are normalized and tokenized. The
 * result is truncated or padded to a fixed length and always contains the end token (tokenizers: AddedVocabulary,
 * TemplateProcessing, truncation to the right).
 */
export class PromptEncoder {
  readonly length: number;
  readonly #options: PromptEncoderOptions;
  readonly #typed: RegExp | null;
  readonly #normalized: RegExp | null;
  readonly #typedIds = new Map<string, number>();
  readonly #normalizedIds = new Map<string, number>();

  constructor(options: PromptEncoderOptions) {
    this.length = options.length;
    this.#options = options;
    for (const { content, id, normalized } of options.specials) {
      if (normalized) this.#normalizedIds.set(options.normalize(content), id);
      else this.#typedIds.set(content, id);
    }
    this.#typed = patternOf([...this.#typedIds.keys()]);
    this.#normalized = patternOf([...this.#normalizedIds.keys()]);
  }

  /** Encodes a prompt as `length` ids, the usual number by default. */
  encode(prompt: string, length = this.length): EncodedPrompt {
    const { start, end, padding } = this.#options;
    const last = length - 1;
    const ids = new Int32Array(length).fill(padding);
    ids.set(start);
    let filled = start.length;
    let truncated: string | null = null;
    for (const unit of this.#units(prompt)) {
      const room = last - filled;
      ids.set(unit.ids.slice(0, room), filled);
      filled += Math.min(unit.ids.length, room);
      if (unit.ids.length > room) {
        truncated = prompt.slice(unit.offset + (unit.special ? 0 : this.#fitting(unit.text, room))).trim();
        break;
      }
    }
    ids[filled] = end;
    return { ids, truncated };
  }

  *#units(prompt: string): Generator<Unit> {
    let offset = 0;
    for (const [index, section] of (this.#typed ? prompt.split(this.#typed) : [prompt]).entries()) {
      if (index % 2 === 1) {
        yield { offset, text: section, ids: [this.#typedIds.get(section)!], special: true };
      } else {
        for (const match of section.matchAll(/[^ ]+/g)) {
          const [text] = match;
          yield { offset: offset + match.index, text, ids: this.#wordIds(text), special: false };
        }
      }
      offset += section.length;
    }
  }

  #wordIds(word: string): readonly number[] {
    const normalized = this.#options.normalize(word);
    if (!this.#normalized) return this.#options.tokenize(normalized);
    return normalized
      .split(this.#normalized)
      .flatMap((section, index) =>
        index % 2 === 1 ? [this.#normalizedIds.get(section)!] : this.#options.tokenize(section),
      );
  }

  /** Finds the word that exceeds `room` tokens in a longer text without spaces; returns its position. */
  #fitting(text: string, room: number): number {
    const ends = [0];
    for (const character of text) ends.push(ends.at(-1)! + character.length);
    const fit = (count: number): boolean => this.#wordIds(text.slice(0, ends[count])).length <= room;
    // Start by doubling, because the text may be much longer than what fits.
    let exceeds = 1;
    while (exceeds < ends.length - 1 && fit(exceeds)) exceeds = Math.min(2 * exceeds, ends.length - 1);
    let fits = exceeds >> 1;
    while (exceeds - fits > 1) {
      const middle = (fits + exceeds) >> 1;
      if (fit(middle)) fits = middle;
      else exceeds = middle;
    }
    // Made when it is needed, because that takes 10 ms.
    const words = new Intl.Segmenter("en", { granularity: "word" });
    return words.segment(text).containing(ends[fits])?.index ?? 0;
  }
}
