import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.js";
import { isFile, isFolder } from "../files/folders.js";
import { cacheFolderOf, hubCache } from "./settings.js";

/** A model's repository on this machine. */
export interface Repository {
  /** The name it was requested by: that of a bundled model, a folder, "owner/name". */
  readonly name: string;
  readonly folder: string;
  /** The commit of a repository from the Hub. */
  readonly revision: string | undefined;
}

/** The name of the bundled model, which includes a Depth Pro. */
export const bundledModel = "tiny-world";

/** The name of the bundled Depth Anything. */
export const bundledEstimator = "tiny-depth-anything";

/** The models in this package, which are on every machine. */
export const bundledModels: readonly string[] = [bundledModel, bundledEstimator];

/** Whether a name is that of a model in this package. */
export const isBundled = (name: string): boolean => bundledModels.includes(name);

const modelsFolder = fileURLToPath(new URL("../../../models", import.meta.url));

/**
 * Finds a model on this machine: a bundled one by its name, a folder, or a Hub repository in the Hugging Face cache
 * (shared with Python). A folder takes precedence over a repository of the same name.
 * @param options.revision a branch, tag or commit of the repository; "main" by default.
 * @param options.env locates the cache: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME.
 * @throws {ModelError} when neither a folder nor a cached repository has that name.
 */
export function resolveRepository(
  model: string,
  options: { revision?: string | undefined; env?: NodeJS.ProcessEnv } = {},
): Repository {
  if (isBundled(model)) return { name: model, folder: join(modelsFolder, model), revision: undefined };
  if (isFolder(model)) return { name: model, folder: resolve(model), revision: undefined };
  if (!isRepositoryName(model))
    throw new ModelError(
      model,
      `${whyNoFolder(model)}, and it is not the name of a repository (owner/name); the bundled model is ${bundledModel}`,
      { code: "model-not-found" },
    );
  const { revision = "main", env = process.env } = options;
  const cached = findCached(model, { revision, env });
  if (cached === null)
    throw new ModelError(
      model,
      `it is neither a folder nor, at revision ${revision}, in the Hugging Face cache (${hubCache(env)}); the bundled model is ${bundledModel}`,
      { code: "model-not-found", details: { remedies: [{ kind: "download", model }] } },
    );
  return cached;
}

/** Explains why a path does not lead to a folder. */
function whyNoFolder(path: string): string {
  try {
    statSync(path);
    return "it is not a folder";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ELOOP") return "it is a link that leads back to itself";
    if (code === "ENAMETOOLONG") return "it is too long for the name of a folder";
    if (code === "EACCES" || code === "EPERM") return `you do not have permission to look at it (${code})`;
    return "there is no such folder";
  }
}

/** Whether a name has the form of a Hub repository, "owner/name". */
export const isRepositoryName = (name: string): boolean =>
  /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(name) && !name.includes("..");

/** Finds a repository in the cache, complete or not; null if the cache has no files of that revision. */
export function findCached(
  name: string,
  { revision, env }: { revision: string; env: NodeJS.ProcessEnv },
): Repository | null {
  const root = join(hubCache(env), cacheFolderOf(name));
  const commit = findCommit(root, revision);
  return commit === null ? null : { name, folder: join(root, "snapshots", commit), revision: commit };
}

/**
 * The commit that a revision names in a cached repository. Without a reference to main, the newest snapshot is used.
 */
function findCommit(root: string, revision: string): string | null {
  const snapshots = join(root, "snapshots");
  if (!isFolder(snapshots)) return null;
  const isSnapshot = (name: string): boolean => /^\w[\w.-]*$/.test(name) && isFolder(join(snapshots, name));
  const reference = join(
    root,
    "refs",
    ...revision.split("/").filter((part) => part !== ".." && part !== "."),
  );
  if (isFile(reference)) {
    const commit = readFileSync(reference, "utf8").trim();
    if (isSnapshot(commit)) return commit;
  }
  if (isSnapshot(revision)) return revision;
  if (revision !== "main") return null;
  const byAge = readdirSync(snapshots)
    .filter(isSnapshot)
    .map((name) => ({ name, time: statSync(join(snapshots, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  return byAge[0]?.name ?? null;
}
