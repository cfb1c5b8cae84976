/* Finds a single weights file: on this machine, or in a repository on the Hub, through the same cache as models. */
import { basename, join, posix, resolve } from "node:path";
import { ModelError } from "../../errors.js";
import { isFile } from "../../files/folders.js";
import type { RepositoryKind } from "../../hub/kind.js";
import { type ObtainOptions, obtainRepository } from "../../hub/obtain.js";
import { isRepositoryName } from "../../hub/repository.js";

/** A file of weights on this machine. */
export interface FoundFile {
  readonly path: string;
  /** Its name without local folders: the file's, or the repository's with the file. */
  readonly name: string;
  /** The commit of its repository on the Hub. */
  readonly revision: string | null;
}

/** Splits "owner/name:file" into its two parts; null for other texts. */
export function fileInRepository(
  source: string,
): { readonly repository: string; readonly file: string } | null {
  const colon = source.indexOf(":");
  const [repository, file] = [source.slice(0, colon), source.slice(colon + 1)];
  return colon > 0 && file !== "" && isRepositoryName(repository) ? { repository, file } : null;
}

/** Whether a model is given as a single file. */
export const isCheckpointFile = (model: string): boolean => isFile(model) || fileInRepository(model) !== null;

/**
 * Finds a file, and downloads it if it is in a repository and not on this machine.
 * @param source the path of a file, or "owner/name:file".
 * @param options.companion the name of a file next to it, which is downloaded with it if it exists.
 * @throws {ModelError} when it does not exist or cannot be downloaded.
 * @throws the signal's reason when cancelled.
 */
export async function findFile(
  source: string,
  options: Omit<ObtainOptions, "kind"> & {
    readonly revision?: string | undefined;
    readonly companion?: string | null;
  },
): Promise<FoundFile> {
  if (isFile(source)) return { path: resolve(source), name: basename(source), revision: null };
  const named = fileInRepository(source);
  if (!named) throw new ModelError(source, "there is no such file", { code: "model-not-found" });
  const { repository, file } = named;
  if (/^[/\\]|(^|[/\\])\.\.([/\\]|$)/.test(file))
    throw new ModelError(source, `${file} leads out of the repository`);
  const { revision, companion = null, ...obtaining } = options;
  const found = await obtainRepository(
    { model: repository, revision },
    { ...obtaining, kind: fileKind(file, companion) },
  );
  return { path: join(found.folder, file), name: source, revision: found.revision ?? null };
}

/** One file of a repository, and a small one next to it if it exists. */
export const fileKind = (file: string, companion: string | null = null): RepositoryKind => ({
  name: file,
  subject: "this request",
  needed: (names) => ({
    small:
      companion === null ? [] : names.filter((name) => name === posix.join(posix.dirname(file), companion)),
    weights: () => [file],
    missing: names.includes(file) ? [] : [file],
  }),
});
