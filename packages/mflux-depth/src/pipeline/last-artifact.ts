import { arraysIn } from "@mflux-depth/mlx";

/** Keeps and owns what a stage made last, for generations that would make the same. */
export class LastArtifact<T> implements Disposable {
  #last: { readonly key: string; readonly made: T } | null = null;

  /** @returns null unless it was made for this key. */
  get(key: string): T | null {
    return this.#last?.key === key ? this.#last.made : null;
  }

  /** Keeps this, and frees what was kept before. */
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
