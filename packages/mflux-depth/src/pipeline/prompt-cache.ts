import { arraysIn, type MxArray } from "@mflux-depth/mlx";

/** A prompt as the transformer takes it. */
export interface PromptEmbeddings {
  /** T5's output, `[1, tokens, channels]`. */
  readonly promptEmbeds: MxArray;
  /** CLIP's pooled output, `[1, channels]`. */
  readonly pooledPromptEmbeds: MxArray;
}

/** Keeps the embeddings of the last prompt, and owns them. */
export class PromptCache implements Disposable {
  #last: { readonly key: string; readonly embeddings: PromptEmbeddings } | null = null;

  get(key: string): PromptEmbeddings | null {
    return this.#last?.key === key ? this.#last.embeddings : null;
  }

  /** Keeps embeddings in place of the last ones. */
  keep(key: string, embeddings: PromptEmbeddings): PromptEmbeddings {
    this.clear();
    this.#last = { key, embeddings };
    return embeddings;
  }

  clear(): void {
    for (const one of arraysIn(this.#last?.embeddings)) one.dispose();
    this.#last = null;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
