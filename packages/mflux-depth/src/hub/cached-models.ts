/*
 * What is in the cache that all of Hugging Face's libraries share, and how it gets out again. Nothing outside of a
 * repository's folder is touched, and no link is followed to delete what it leads to.
 */

import { existsSync } from "node:fs";
import { lstat, readdir, readFile, readlink, realpath, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { cacheFolderOf } from "./cache.js";
import { missingFiles } from "./needed.js";
import { findCached, hubCache, requireFluxDepth } from "./repository.js";

/** A model in the cache. */
export interface CachedModel {
  /** "owner/name". */
  readonly repository: string;
  /** The files of `revision`. */
  readonly folder: string;
  /** The commit that is used unless another is asked for. */
  readonly revision: string;
  /** On the disk, of all revisions. */
  readonly bytes: number;
  readonly isFluxDepth: boolean;
  /** Whether it is a pipeline in the layout of diffusers. */
  readonly hasModelIndex: boolean;
}

/**
 * The models in the cache, by name. A FLUX.1 repository of which files are missing is not among them; of other kinds
 * of models nobody here knows what they need.
 */
export async function cachedModels(env: NodeJS.ProcessEnv = process.env): Promise<CachedModel[]> {
  const cache = hubCache(env);
  const folders = await readdir(cache).catch(() => []);
  const found: CachedModel[] = [];
  for (const name of folders.sort()) {
    if (!name.startsWith("models--") || !isFolder(join(cache, name))) continue;
    const repository = name.slice("models--".length).replace("--", "/");
    const cached = isCacheName(repository) ? findCached(repository, { revision: "main", env }) : null;
    if (!cached?.revision) continue;
    const { folder, revision } = cached;
    const kind = await kindOf(folder);
    if (kind === "partial") continue;
    const bytes = await bytesIn(join(cache, name));
    found.push({
      repository,
      folder,
      revision,
      bytes,
      isFluxDepth: kind === "FLUX.1 Depth",
      hasModelIndex: existsSync(join(folder, "model_index.json")),
    });
  }
  return found;
}

async function kindOf(folder: string): Promise<"FLUX.1 Depth" | "partial" | "other"> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  // A link may lead nowhere.
  const files = names.filter((name) => existsSync(join(folder, name)) && !isFolder(join(folder, name)));
  if (files.length === 0) return "partial";
  const isSaved = files.includes(join("transformer", "0.safetensors"));
  if (!isSaved && !isFluxTransformer(join(folder, "transformer"))) return "other";
  const variants = files.map((name) => /\.([a-z]\w*)(-\d+-of-\d+)?\.safetensors$/.exec(name)?.[1]);
  const isWhole = [undefined, ...new Set(variants)].some(
    (variant) => missingFiles(folder, "FLUX.1 Depth", variant).length === 0,
  );
  if (!isWhole) return "partial";
  try {
    if (!isSaved) requireFluxDepth(folder);
    return "FLUX.1 Depth";
  } catch {
    return "other";
  }
}

function isFluxTransformer(folder: string): boolean {
  try {
    return readConfig(folder, "config.json")._class_name === "FluxTransformer2DModel";
  } catch {
    return false;
  }
}

/** Bytes of the files in a folder, some of which may be going; what links lead to is not counted again. */
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
 * Deletes a repository from the cache: all of it, or one revision with the files that no other revision has.
 * @param options.revision a branch, tag or commit; all of them when absent.
 * @returns false when it is not there.
 * @throws {ModelError} when the name cannot be a repository's, it is not a folder of the cache itself, or the system
 * refuses.
 */
export async function deleteCached(
  repository: string,
  options: { revision?: string | undefined; env?: NodeJS.ProcessEnv } = {},
): Promise<boolean> {
  const { revision, env = process.env } = options;
  if (!isCacheName(repository))
    throw new ModelError(repository, "this cannot be the name of a repository (owner/name)");
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

/** A name as the cache's folders have it; the oldest repositories have no owner. */
const isCacheName = (name: string): boolean =>
  /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(name) && !/\.\.|--/.test(name);

/** @returns false when there is nothing. @throws {ModelError} when it is a link, to who knows where. */
async function isOwnFolder(repository: string, path: string): Promise<boolean> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found && !found.isDirectory())
    throw new ModelError(
      repository,
      `${path} is no folder of the cache but a link or a file; delete it, and what it leads to, by hand`,
    );
  return found !== null;
}

/** Names go before contents: what an interruption leaves is no model, and a later download uses it. */
async function deleteAll(root: string): Promise<void> {
  for (const part of ["refs", "snapshots"]) await rm(join(root, part), { recursive: true, force: true });
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

/** The blobs in the repository's own folder that a snapshot links to. */
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
