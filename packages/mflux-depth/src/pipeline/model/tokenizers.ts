import { join } from "node:path";
import type { ModelConfigs, TextEncoding } from "../../families/family.js";
import type { Tokenizer } from "../../tokenizers/prompt-encoder.js";

/**
 * The tokenizers of a model. Each is opened when it is first needed, and kept for the prompts that follow: reading the
 * vocabularies of the published model takes longer than encoding a prompt, and blocks the event loop.
 */
export class ModelTokenizers {
  readonly #folder: string;
  readonly #configs: ModelConfigs;
  readonly #open = new Map<TextEncoding, Tokenizer>();

  /**
   * @param folder the model's folder.
   * @param configs the configs of the model's networks.
   */
  constructor(folder: string, configs: ModelConfigs) {
    this.#folder = folder;
    this.#configs = configs;
  }

  /**
   * Returns the tokenizer of a text encoder.
   * @throws {ModelError} when its files are missing or damaged, or do not fit the encoder.
   */
  of(encoding: TextEncoding): Tokenizer {
    const known = this.#open.get(encoding);
    if (known) return known;
    const opened = encoding.openTokenizer(join(this.#folder, encoding.tokenizer), this.#configs);
    this.#open.set(encoding, opened);
    return opened;
  }

  /** Drops the tokenizers. */
  free(): void {
    this.#open.clear();
  }
}
