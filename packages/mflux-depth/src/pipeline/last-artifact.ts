import { arraysIn } from "@mflux-depth/mlx";

/** Keeps and owns the last output of a stage, for generations that would make the same. */
export class LastArtifact<T> implements Disposable {
  #last: { readonly key: string; readonly made: T } | null = null;

  /** @returns the artifact, or null if it was made for another key. */
  get(key: string): T | null {
    return this.#last?.key === key ? this.#last.made : null;
  }

  /** Keeps an artifact, and frees the previous one. */
  keep(key: string, made: T): T {
    this.clear();
    this.#last = { key, made };
    return made;
  }

  clear(): void {
    for (const one of arraysIn(this.#last?.made)) one.dispose();
    this.#last = null;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
