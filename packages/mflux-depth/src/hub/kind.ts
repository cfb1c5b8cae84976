import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isFolder } from "../files/folders.js";

/**
 * A kind of repository: which of its files are needed, and how to tell it from other kinds. Model families and depth
 * estimators define their kinds; the hub does not know them.
 */
export interface RepositoryKind {
  /** The name in messages: "Depth Pro". */
  readonly name: string;
  /** What needs the files, for messages; by default, a model in the layout of diffusers. */
  readonly subject?: string;
  /**
   * Chooses the needed files among the names of a repository's files. The same choice decides what is downloaded and
   * whether the cache has all of it.
   * @param names relative to the model's folder, with slashes.
   * @param variant of the weights: the middle of `model.fp16.safetensors`.
   */
  needed(names: readonly string[], variant: string | undefined): NeededFiles;
  /** Folders that the model requires; patterns that exclude all of one are refused. */
  readonly folders?: readonly string[];
  /** The first file to download: it shows whether this account may read the repository at all. */
  readonly probe?: string;
  /**
   * Refuses a repository by its name.
   * @throws {ModelError} when the name says that it holds another kind of model.
   */
  checkName?(repository: string): void;
  /**
   * Refuses a repository by its small files, before any weights are downloaded.
   * @param small the small files that are in `folder` now.
   * @throws {ModelError} when they belong to another kind of model.
   */
  check?(repository: string, folder: string, small: readonly string[]): void;
}

/** File names, relative to the model's folder, with slashes. */
export interface NeededFiles {
  /** Configs, vocabularies and indexes; they identify the kind of model. */
  readonly small: readonly string[];
  /** Lists the weights, once the indexes among the small files are in `folder`. */
  readonly weights: (folder: string) => readonly string[];
  /** Needed files that the repository lacks. */
  readonly missing: readonly string[];
}

/** Lists the files that a folder lacks to be a complete model of a kind, judging by file names. */
export function missingFiles(folder: string, kind: RepositoryKind, variant: string | undefined): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    // A link in the cache may be broken.
    .filter((name) => existsSync(join(folder, name)) && !isFolder(join(folder, name)));
  const { missing, weights } = kind.needed(names, variant);
  return [...missing, ...weights(folder).filter((name) => !names.includes(name))];
}
