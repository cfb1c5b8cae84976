import { arraysIn } from "@mflux-depth/mlx";
import type { PromptEmbeddings } from "../families/family.js";

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
