import { arraysIn, type MxArray } from "@mflux-depth/mlx";

/** A prompt in the form that the transformer takes. */
export interface PromptEmbeddings {
  /** Prompt embeddings: T5's output for each token, `[1, tokens, jointAttentionDim]`. */
  readonly promptEmbeds: MxArray;
  /** Pooled embeddings: CLIP's output for the whole prompt, `[1, pooledProjectionDim]`. */
  readonly pooledPromptEmbeds: MxArray;
  /** Tokens of the prompt in `promptEmbeds`, padding included. */
  readonly tokens: number;
}

/** Keeps and owns the embeddings of the last prompt. */
export class PromptCache implements Disposable {
  #last: { readonly key: string; readonly embeddings: PromptEmbeddings } | null = null;

  get(key: string): PromptEmbeddings | null {
    return this.#last?.key === key ? this.#last.embeddings : null;
  }

  /** Keeps these embeddings, and frees those of the prompt before. */
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
