/*
 * Lists and deletes models in the cache that all of Hugging Face's libraries share. Nothing outside a repository's
 * folder is touched, and links are never followed when deleting.
 */

import { existsSync } from "node:fs";
import { lstat, readdir, readFile, readlink, realpath, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { modelIndexFile } from "../files/repository-layout.js";
import { findCached } from "./repository.js";
import { cacheFolderOf, hubCache } from "./settings.js";

/** A model in the cache. */
export interface CachedModel {
  /** "owner/name". */
  readonly repository: string;
  /** The files of `revision`. */
  readonly folder: string;
  /** The commit that is used by default. */
  readonly revision: string;
  /** Size on disk, all revisions together. */
  readonly bytes: number;
  /** The model family that can use it; null for other kinds of models. */
  readonly family: string | null;
  /** Whether it is a pipeline in the layout of diffusers. */
  readonly hasModelIndex: boolean;
}

/** What a folder contains: a complete model (of a family, or null for other models), or an incomplete one of a family. */
export type Identification =
  | { readonly state: "whole"; readonly family: string | null }
  | { readonly state: "partial" };

/**
 * Lists the models in the cache, by name. Incomplete models of a known family are left out; other models are always
 * listed, because we cannot tell whether they are complete.
 * @param identify identifies the model in a folder.
 */
export async function cachedModels(
  identify: (folder: string) => Identification,
  env: NodeJS.ProcessEnv = process.env,
): Promise<CachedModel[]> {
  const cache = hubCache(env);
  const folders = await readdir(cache).catch(() => []);
  const found: CachedModel[] = [];
  for (const name of folders.sort()) {
    if (!name.startsWith("models--") || !isFolder(join(cache, name))) continue;
    const repository = name.slice("models--".length).replace("--", "/");
    const cached = isCacheName(repository) ? findCached(repository, { revision: "main", env }) : null;
    if (!cached?.revision) continue;
    const { folder, revision } = cached;
    if (!(await hasFiles(folder))) continue;
    const identification = identify(folder);
    if (identification.state === "partial") continue;
    found.push({
      repository,
      folder,
      revision,
      bytes: await bytesIn(join(cache, name)),
      family: identification.family,
      hasModelIndex: existsSync(join(folder, modelIndexFile)),
    });
  }
  return found;
}

/** Whether a snapshot has at least one file; links may be broken. */
async function hasFiles(folder: string): Promise<boolean> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  return names.some((name) => existsSync(join(folder, name)) && !isFolder(join(folder, name)));
}

/** Sums the sizes of the files in a folder, without links. Files may disappear meanwhile. */
async function bytesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(
        async ({ parentPath, name }) => (await lstat(join(parentPath, name)).catch(() => null))?.size ?? 0,
      ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * Deletes a repository from the cache, or one revision together with the files that only it uses.
 * @param options.revision a branch, tag or commit; all revisions by default.
 * @returns false when the cache has no such repository or revision.
 * @throws {ModelError} if the name is not a repository name, the folder is a link or a file, or the system refuses.
 */
export async function deleteCached(
  repository: string,
  options: { revision?: string | undefined; env?: NodeJS.ProcessEnv } = {},
): Promise<boolean> {
  const { revision, env = process.env } = options;
  if (!isCacheName(repository))
    throw new ModelError(repository, "this is not the name of a repository (owner/name)");
  const root = join(hubCache(env), cacheFolderOf(repository));
  try {
    if (!(await isOwnFolder(repository, root))) return false;
    if (revision === undefined) await deleteAll(root);
    else {
      const commit = findCached(repository, { revision, env })?.revision ?? "";
      if (!/^[0-9a-f]{40}$/.test(commit)) return false;
      await isOwnFolder(repository, join(root, "snapshots", commit));
      await deleteRevision(root, commit);
    }
    return true;
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (error instanceof ModelError || code === undefined) throw error;
    throw new ModelError(repository, `${path ?? root} cannot be deleted (${code})`, { cause: error });
  }
}

/** Whether a name can be that of a cache folder. The oldest repositories have no owner. */
const isCacheName = (name: string): boolean =>
  /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(name) && !/\.\.|--/.test(name);

/**
 * Whether a folder exists.
 * @throws {ModelError} when it is a link or a file, which could lead anywhere.
 */
async function isOwnFolder(repository: string, path: string): Promise<boolean> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found && !found.isDirectory())
    throw new ModelError(
      repository,
      `${path} is a link or a file, not a cache folder; delete it and its target by hand`,
    );
  return found !== null;
}

/** Deletes names before contents: an interruption leaves no broken model, and a later download reuses the blobs. */
async function deleteAll(root: string): Promise<void> {
  for (const folder of ["refs", "snapshots"]) await rm(join(root, folder), { recursive: true, force: true });
  await rm(root, { recursive: true, force: true });
}

async function deleteRevision(root: string, commit: string): Promise<void> {
  const snapshots = join(root, "snapshots");
  const others = (await readdir(snapshots)).filter((name) => name !== commit);
  if (others.length === 0) return deleteAll(root);
  const mine = await blobsOf(root, join(snapshots, commit));
  const kept = await Promise.all(others.map((name) => blobsOf(root, join(snapshots, name))));
  for (const reference of await filesIn(join(root, "refs")))
    if ((await readFile(reference, "utf8")).trim() === commit) await rm(reference);
  for (const folder of [join(root, ".no_exist", commit), join(snapshots, commit)])
    await rm(folder, { recursive: true, force: true });
  for (const blob of mine) if (!kept.some((blobs) => blobs.has(blob))) await rm(blob, { force: true });
}

/** The blobs of the repository itself that a snapshot links to. */
async function blobsOf(root: string, snapshot: string): Promise<Set<string>> {
  const folder = join(await realpath(root), "blobs");
  const blobs = new Set<string>();
  const entries = await readdir(snapshot, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((one) => one.isSymbolicLink())) {
    const target = resolve(entry.parentPath, await readlink(join(entry.parentPath, entry.name)));
    const real = await realpath(target).catch(() => null);
    if (real !== null && dirname(real) === folder) blobs.add(real);
  }
  return blobs;
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}
