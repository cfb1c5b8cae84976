import * as library from "@huggingface/tokenizers";

/*
 * The building blocks taken from @huggingface/tokenizers: its models and its byte encoder. They are typed here because
 * the package's declarations import each other without file extensions, which TypeScript cannot follow in an ES module.
 * The package's `Tokenizer` differs from transformers: it lowercases a final sigma differently, replaces the precompiled
 * charsmap with NFKC, and recognises special tokens that appear only after normalization.
 */

interface Bpe {
  /** Splits byte-encoded words into tokens, with the unknown token for pieces that the vocabulary lacks. */
  encode(words: readonly string[]): string[];
}

interface Unigram {
  /** Splits a word into its most likely pieces; a character not covered by any piece stands alone. */
  tokenize(word: string): string[];
}

interface ByteLevel {
  /** Encodes the UTF-8 bytes of a text as GPT-2's printable characters, one for each byte. */
  pre_tokenize_text(text: string): string[];
}

const typed = library as unknown as {
  BPE: new (config: {
    type: "BPE";
    vocab: Readonly<Record<string, number>>;
    merges: readonly (readonly [string, string])[];
    unk_token: string;
    end_of_word_suffix: string;
  }) => Bpe;
  Unigram: new (config: {
    type: "Unigram";
    vocab: readonly (readonly [string, number])[];
    unk_id: number;
  }) => Unigram;
  ByteLevelPreTokenizer: new (config: {
    type: "ByteLevel";
    add_prefix_space: boolean;
    use_regex: boolean;
  }) => ByteLevel;
};

export const { BPE, Unigram, ByteLevelPreTokenizer } = typed;
