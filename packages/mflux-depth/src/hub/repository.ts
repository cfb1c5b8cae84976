import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { cacheFolderOf } from "./cache.js";
import { hubCache } from "./client.js";

export { hubCache };

/** A repository of weights on this machine. */
export interface Repository {
  /** As it was asked for: "tiny-world", a folder, "owner/name". */
  readonly name: string;
  readonly folder: string;
  /** The commit, for what came from the Hub. */
  readonly revision: string | undefined;
}

/** The bundled checkpoint's name. */
export const bundledModel = "tiny-world";

/** The repository of the model that infers depth, unless another is named. */
export const defaultDepthModel = "apple/DepthPro-hf";

/** Where a FLUX repository keeps a Depth Pro of its own; null when it has none. */
export function depthProIn(folder: string): string | null {
  const own = join(folder, "depth_pro");
  return existsSync(join(own, "config.json")) ? own : null;
}

const modelsFolder = fileURLToPath(new URL("../../../models", import.meta.url));

/**
 * Finds a model: the bundled one by its name, a folder, or a Hub repository in this machine's Hugging Face cache
 * (which Python shares). A folder wins over a repository of the same name.
 * @param options.revision a branch, tag or commit of the repository; "main" when absent.
 * @param options.env where the cache is looked for: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME.
 * @throws {ModelError} when there is no such folder, or the repository is not in the cache.
 */
export function resolveRepository(
  model: string,
  options: { revision?: string | undefined; env?: NodeJS.ProcessEnv } = {},
): Repository {
  if (model === bundledModel) return { name: model, folder: join(modelsFolder, model), revision: undefined };
  if (isFolder(model)) return { name: model, folder: resolve(model), revision: undefined };
  if (!isRepositoryName(model))
    throw new ModelError(
      model,
      `there is no such folder, and it is not the name of a repository (owner/name); the bundled model is ${bundledModel}`,
      { code: "model-not-found" },
    );
  const { revision = "main", env = process.env } = options;
  const cached = findCached(model, { revision, env });
  if (cached === null)
    throw new ModelError(
      model,
      `it is neither a folder nor, at revision ${revision}, in the Hugging Face cache (${hubCache(env)}); ` +
        `download it, or use the bundled model, ${bundledModel}`,
      { code: "model-not-found", details: { remedies: [{ kind: "download", model }] } },
    );
  return cached;
}

/** Whether a name is that of a repository of the Hub: "owner/name". */
export const isRepositoryName = (name: string): boolean =>
  /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(name) && !name.includes("..");

/** A repository in this machine's cache, whole or not; null when there is nothing of that revision. */
export function findCached(
  name: string,
  { revision, env }: { revision: string; env: NodeJS.ProcessEnv },
): Repository | null {
  const root = join(hubCache(env), cacheFolderOf(name));
  const commit = findCommit(root, revision);
  return commit === null ? null : { name, folder: join(root, "snapshots", commit), revision: commit };
}

/** The commit that a revision stands for in a cached repository; without a reference to main, the newest snapshot. */
function findCommit(root: string, revision: string): string | null {
  const snapshots = join(root, "snapshots");
  if (!isFolder(snapshots)) return null;
  const isSnapshot = (name: string): boolean => /^\w[\w.-]*$/.test(name) && isFolder(join(snapshots, name));
  const reference = join(
    root,
    "refs",
    ...revision.split("/").filter((part) => part !== ".." && part !== "."),
  );
  if (statSync(reference, { throwIfNoEntry: false })?.isFile()) {
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

/** The folders of a FLUX.1 repository. */
export const fluxParts = [
  "scheduler",
  "text_encoder",
  "text_encoder_2",
  "tokenizer",
  "tokenizer_2",
  "transformer",
  "vae",
] as const;

/**
 * Refuses what is not a FLUX.1 Depth repository, by its files and configs, before any weights are opened. Canny's and
 * Depth's are equal in shapes: they are told apart by the name of the folder and by the model card, where that is there.
 * @param configs where configs and scheduler are, if not there too.
 * @throws {ModelError} that says which model it is instead, or what is missing.
 */
export function requireFluxDepth(folder: string, configs = folder): void {
  const file = (name: string): boolean => existsSync(join(configs, name));
  if (!file("model_index.json") && existsSync(join(folder, "config.json"))) {
    const { model_type: type, _class_name: name } = readConfig(folder, "config.json");
    if (type === "depth_pro")
      throw new ModelError(
        folder,
        "this is Depth Pro, which infers depth from photos; name it as depthModel, and a FLUX.1 Depth model as model",
        { details: { remedies: [{ kind: "set-option", option: "depthModel", value: folder }] } },
      );
    throw new ModelError(
      folder,
      `this is one component (${type ?? name ?? "of an unknown kind"}); expected a whole FLUX.1 Depth repository with the folders ${fluxParts.join(", ")}`,
    );
  }
  const pipeline = file("model_index.json") ? readConfig(configs, "model_index.json")._class_name : undefined;
  if (pipeline === "FluxPriorReduxPipeline")
    throw new ModelError(
      folder,
      "this is FLUX.1 Redux, which varies pictures; FLUX.1 Depth takes a depth map",
    );
  if (typeof pipeline === "string" && !pipeline.startsWith("Flux"))
    throw new ModelError(folder, `this is a model for ${pipeline}, not for FLUX.1`);
  const missing = fluxParts.filter((part) => !isFolder(join(part === "scheduler" ? configs : folder, part)));
  if (missing.length === fluxParts.length && !file("model_index.json"))
    throw new ModelError(
      folder,
      `this is no FLUX.1 repository in the layout of diffusers: expected model_index.json and the folders ${fluxParts.join(", ")}`,
    );
  if (missing.length > 0)
    throw new ModelError(folder, `the folder ${missing.join(", ")} is missing; is the download complete?`);
  requireNotCanny(folder);
  const transformer = readConfig(join(configs, "transformer"), "config.json");
  const path = join(configs, "transformer", "config.json");
  const { _class_name: kind, in_channels: channels } = transformer;
  if (kind !== undefined && kind !== "FluxTransformer2DModel")
    throw new ModelError(path, `the transformer is a ${kind}; FLUX.1 Depth has a FluxTransformer2DModel`);
  const { latent_channels: latent = 16 } = readConfig(join(configs, "vae"), "config.json");
  requireDepthChannels(path, channels, latent);
}

/** @throws {ModelError} when the folder's name or its model card says that this is FLUX.1 Canny. */
function requireNotCanny(folder: string): void {
  const card = join(folder, "README.md");
  const says = (text: string): boolean =>
    /FLUX\.?1[ -](Canny|Depth)/i.exec(text)?.[1]?.toLowerCase() === "canny";
  const source = says(basename(folder))
    ? folder
    : existsSync(card) && says(readFileSync(card, "utf8"))
      ? card
      : null;
  if (source !== null)
    throw new ModelError(
      source,
      "by its name this is FLUX.1 Canny, which takes edges; FLUX.1 Depth takes a depth map",
    );
}

/**
 * Refuses a transformer by the channels it takes.
 * @throws {ModelError} about `path`, that says which model it is.
 */
export function requireDepthChannels(path: string, channels: unknown, latent: unknown): void {
  // Latents come in patches of two by two; Depth takes as many channels again for the map.
  const packed = 4 * Number(latent);
  const expected = `FLUX.1 Depth has in_channels ${2 * packed}`;
  if (channels === packed)
    throw new ModelError(
      path,
      `this is FLUX.1 dev or schnell, which takes no depth map (${expected}, not ${packed})`,
    );
  if (channels === 6 * packed)
    throw new ModelError(path, `this is FLUX.1 Fill, which takes a mask (${expected}, not ${6 * packed})`);
  if (channels !== 2 * packed)
    throw new ModelError(
      path,
      `in_channels is ${JSON.stringify(channels)}, of an unknown model (${expected})`,
    );
}
