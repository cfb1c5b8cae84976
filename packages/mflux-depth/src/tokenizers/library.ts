import * as library from "@huggingface/tokenizers";

/*
 * The parts of @huggingface/tokenizers that the tokenizers are built from: its models and its byte encoder. They are
 * typed here because the package's declarations import each other without file extensions, which TypeScript does not
 * follow in an ES module. Its `Tokenizer` is not used: it differs from transformers in lowercasing (final sigma), in
 * the precompiled charsmap (replaced by NFKC), and in parsing as special tokens what only looks like one when
 * normalized.
 */

interface Bpe {
  /** Tokens of byte-encoded words, the unknown token in place of what the vocabulary lacks. */
  encode(words: readonly string[]): string[];
}

interface Unigram {
  /** The most likely pieces of a word; a character that no piece covers stands alone. */
  tokenize(word: string): string[];
}

interface ByteLevel {
  /** The text's UTF-8 bytes, each as the printable character that GPT-2 writes for it. */
  pre_tokenize_text(text: string): string[];
}

const parts = library as unknown as {
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

export const { BPE, Unigram, ByteLevelPreTokenizer } = parts;
