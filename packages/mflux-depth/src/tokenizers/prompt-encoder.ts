import type { SpecialToken } from "./files.js";

/** A prompt as a text encoder takes it. */
export interface EncodedPrompt {
  /** `[length]`: start token where the model has one, tokens, end token, padding. */
  readonly ids: Int32Array;
  /** The end of the prompt that did not fit, as typed; null when everything did. */
  readonly truncated: string | null;
}

export interface PromptEncoderParts {
  readonly specials: readonly SpecialToken[];
  readonly normalize: (text: string) => string;
  /** Ids of normalized text that holds no special token. */
  readonly tokenize: (text: string) => readonly number[];
  /** Ids before the prompt's. */
  readonly start: readonly number[];
  readonly end: number;
  readonly padding: number;
  /** Length of every result. */
  readonly length: number;
}

/** A part of the prompt that is encoded by itself. */
interface Unit {
  /** Where it begins in the prompt. */
  readonly offset: number;
  readonly text: string;
  readonly ids: readonly number[];
  readonly special: boolean;
}

const words = new Intl.Segmenter("en", { granularity: "word" });

/** Matches any of the contents, the longest where several begin at one place; null for none. */
function patternOf(contents: readonly string[]): RegExp | null {
  if (contents.length === 0) return null;
  const escaped = [...contents]
    .sort((a, b) => b.length - a.length)
    .map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return new RegExp(`(${escaped.join("|")})`, "u");
}

/**
 * What both tokenizers do around their vocabulary: special tokens are found in the prompt as typed, the rest is
 * normalized and tokenized between its spaces (which separate in both, and which no normalization touches), and the
 * result is truncated and padded to one length, the end token kept (tokenizers: AddedVocabulary, TemplateProcessing,
 * truncation to the right).
 */
export class PromptEncoder {
  readonly length: number;
  readonly #parts: PromptEncoderParts;
  readonly #typed: RegExp | null;
  readonly #normalized: RegExp | null;
  readonly #typedIds = new Map<string, number>();
  readonly #normalizedIds = new Map<string, number>();

  constructor(parts: PromptEncoderParts) {
    this.length = parts.length;
    this.#parts = parts;
    for (const { content, id, normalized } of parts.specials) {
      if (normalized) this.#normalizedIds.set(parts.normalize(content), id);
      else this.#typedIds.set(content, id);
    }
    this.#typed = patternOf([...this.#typedIds.keys()]);
    this.#normalized = patternOf([...this.#normalizedIds.keys()]);
  }

  /** The prompt as `length` ids, and what of it did not fit. */
  encode(prompt: string): EncodedPrompt {
    const { start, end, padding, length } = this.#parts;
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
    const normalized = this.#parts.normalize(word);
    if (!this.#normalized) return this.#parts.tokenize(normalized);
    return normalized
      .split(this.#normalized)
      .flatMap((section, index) =>
        index % 2 === 1 ? [this.#normalizedIds.get(section)!] : this.#parts.tokenize(section),
      );
  }

  /** Where in a text without spaces, that has more than `room` tokens, the word begins that exceeds them. */
  #fitting(text: string, room: number): number {
    const ends = [0];
    for (const character of text) ends.push(ends.at(-1)! + character.length);
    const fit = (count: number): boolean => this.#wordIds(text.slice(0, ends[count])).length <= room;
    // Doubling first, because the text may be much longer than what fits.
    let exceeds = 1;
    while (exceeds < ends.length - 1 && fit(exceeds)) exceeds = Math.min(2 * exceeds, ends.length - 1);
    let fits = exceeds >> 1;
    while (exceeds - fits > 1) {
      const middle = (fits + exceeds) >> 1;
      if (fit(middle)) fits = middle;
      else exceeds = middle;
    }
    return words.segment(text).containing(ends[fits])?.index ?? 0;
  }
}
