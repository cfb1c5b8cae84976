import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.js";
import { isFolder, readConfig } from "./checkpoint.js";

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
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(model))
    throw new ModelError(
      model,
      `there is no such folder, and it is not the name of a repository (owner/name); the bundled model is ${bundledModel}`,
    );
  const { revision = "main", env = process.env } = options;
  const cache = hubCache(env);
  const root = join(cache, `models--${model.replace("/", "--")}`);
  const commit = findCommit(root, revision);
  if (commit === null)
    throw new ModelError(
      model,
      `it is neither a folder nor, at revision ${revision}, in the Hugging Face cache (${cache}); ` +
        `get it with \`hf download ${model}\`, or use the bundled model, ${bundledModel}`,
    );
  return { name: model, folder: join(root, "snapshots", commit), revision: commit };
}

/** The folder in which Hugging Face's libraries keep repositories. */
export function hubCache(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE;
  if (env.HF_HOME) return join(env.HF_HOME, "hub");
  return join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface", "hub");
}

/** The commit that a revision stands for in a cached repository; without a reference to main, the newest snapshot. */
function findCommit(root: string, revision: string): string | null {
  const snapshots = join(root, "snapshots");
  if (!isFolder(snapshots)) return null;
  const isSnapshot = (name: string): boolean => /^[\w.-]+$/.test(name) && isFolder(join(snapshots, name));
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

const fluxParts = [
  "scheduler",
  "text_encoder",
  "text_encoder_2",
  "tokenizer",
  "tokenizer_2",
  "transformer",
  "vae",
] as const;

/**
 * Refuses what is not a FLUX.1 Depth repository, by its files and configs, before any weights are opened. Canny and
 * Depth have equal configs and are not told apart.
 * @throws {ModelError} that says which model it is instead, or what is missing.
 */
export function requireFluxDepth(folder: string): void {
  const file = (name: string): boolean => existsSync(join(folder, name));
  if (!file("model_index.json") && file("config.json")) {
    const { model_type: type, _class_name: name } = readConfig(folder, "config.json");
    if (type === "depth_pro")
      throw new ModelError(
        folder,
        "this is Depth Pro, which infers depth from photos; name it as depthModel (--depth-model), and a FLUX.1 Depth model as model",
      );
    throw new ModelError(
      folder,
      `this is one component (${type ?? name ?? "of an unknown kind"}); expected a whole FLUX.1 Depth repository with the folders ${fluxParts.join(", ")}`,
    );
  }
  const missing = fluxParts.filter((part) => !isFolder(join(folder, part)));
  if (missing.length === fluxParts.length && !file("model_index.json"))
    throw new ModelError(
      folder,
      `this is no FLUX.1 repository in the layout of diffusers: expected model_index.json and the folders ${fluxParts.join(", ")}`,
    );
  if (missing.length > 0)
    throw new ModelError(folder, `the folder ${missing.join(", ")} is missing; is the download complete?`);
  if (file("model_index.json")) {
    const { _class_name: pipeline } = readConfig(folder, "model_index.json");
    if (typeof pipeline === "string" && !pipeline.startsWith("Flux"))
      throw new ModelError(folder, `this is a model for ${pipeline}, not for FLUX.1`);
  }
  const transformer = readConfig(join(folder, "transformer"), "config.json");
  const path = join(folder, "transformer", "config.json");
  const { _class_name: kind, in_channels: channels } = transformer;
  if (kind !== undefined && kind !== "FluxTransformer2DModel")
    throw new ModelError(path, `the transformer is a ${kind}; FLUX.1 Depth has a FluxTransformer2DModel`);
  // Latents come in patches of two by two; Depth takes as many channels again for the map.
  const { latent_channels: latent = 16 } = readConfig(join(folder, "vae"), "config.json");
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
