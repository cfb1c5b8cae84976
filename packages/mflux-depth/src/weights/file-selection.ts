import { join } from "node:path";
import { shardsOf, weightsAmong } from "./weight-files.js";

/**
 * Chooses the files that a model needs among the names of a repository's files. The names of shards are in their index, so
 * they can be listed only once that is on disk.
 */
export class FileSelection {
  /** Configs, vocabularies and indexes. */
  readonly small: string[] = [];
  /** Needed files that the names lack. */
  readonly missing: string[] = [];
  readonly #names: readonly string[];
  readonly #variant: string | undefined;
  readonly #singles: string[] = [];
  readonly #indexes: { folder: string; index: string }[] = [];
  #foundVariant = false;

  /**
   * @param names relative to the model's folder, with slashes.
   * @param variant of the weights, for the components that have it.
   */
  constructor(names: readonly string[], variant: string | undefined) {
    this.#names = names;
    this.#variant = variant;
  }

  /** The names of files directly inside a folder; "" is the model's own folder. */
  inside(folder: string): string[] {
    const prefix = folder === "" ? "" : `${folder}/`;
    return this.#names
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .filter((name) => !name.includes("/"));
  }

  /** Selects a small file; a missing one is recorded unless it is optional. */
  take(folder: string, name: string, { optional = false } = {}): void {
    const path = pathOf(folder, name);
    if (this.inside(folder).includes(name)) {
      if (!this.small.includes(path)) this.small.push(path);
    } else if (!optional) this.missing.push(path);
  }

  /** Selects a folder's weights: those of the variant if there are any, otherwise the plain ones. */
  takeWeights(folder: string): void {
    const names = this.inside(folder);
    const varied = this.#variant === undefined ? null : weightsAmong(names, this.#variant);
    if (varied) this.#foundVariant = true;
    const found = varied ?? weightsAmong(names, undefined);
    if (found?.single) this.#singles.push(pathOf(folder, found.single));
    else if (found?.index) {
      this.small.push(pathOf(folder, found.index));
      this.#indexes.push({ folder, index: found.index });
    } else if (found?.numbered) this.#singles.push(...found.numbered.map((name) => pathOf(folder, name)));
    else this.missing.push(pathOf(folder, "*.safetensors"));
  }

  /** Records the variant as missing if no folder has weights of it. */
  requireVariant(): void {
    if (this.#variant !== undefined && !this.#foundVariant)
      this.missing.push(`*.${this.#variant}.safetensors`);
  }

  /** Lists the files of weights, once the indexes are in `folder`. */
  readonly weights = (folder: string): string[] => [
    ...this.#singles,
    ...this.#indexes.flatMap(({ folder: component, index }) =>
      shardsOf(join(folder, component), index).map((shard) => pathOf(component, shard)),
    ),
  ];
}

const pathOf = (folder: string, name: string): string => (folder === "" ? name : `${folder}/${name}`);
