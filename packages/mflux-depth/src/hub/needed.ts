/*
 * Which files of a repository a model needs: chosen from the names alone, but for shards, which their index names.
 * One choice decides what is downloaded and whether what is in the cache is whole.
 */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isFolder } from "../files/folders.js";
import { shardsOf, weightsAmong } from "../weights/files.js";

/** What a repository is wanted for. */
export type ModelKind = "FLUX.1 Depth" | "FLUX.1 configs" | "Depth Pro";

/** The folders that FLUX.1 keeps weights in. */
const weightFolders = ["transformer", "text_encoder", "text_encoder_2", "vae"] as const;

const depthProFolder = "depth_pro";

/** Names of files, relative to the model's folder, with slashes. */
export interface Needed {
  /** Configs, vocabularies, indexes: they say what kind of model it is. */
  readonly small: readonly string[];
  /** Known once the indexes among the small ones are there. */
  readonly weights: (folder: string) => readonly string[];
  /** What the model needs and the names do not have. */
  readonly missing: readonly string[];
}

/**
 * Chooses among the names of a repository's files.
 * @param variant of the weights, for the components that have it.
 */
export function neededFiles(names: readonly string[], kind: ModelKind, variant: string | undefined): Needed {
  const small: string[] = [];
  const missing: string[] = [];
  const singles: string[] = [];
  let varied = false;
  const indexes: { folder: string; index: string }[] = [];
  const inside = (folder: string): string[] =>
    names
      .filter((name) => (folder === "" ? !name.includes("/") : name.startsWith(`${folder}/`)))
      .map((name) => (folder === "" ? name : name.slice(folder.length + 1)))
      .filter((name) => !name.includes("/"));
  const at = (folder: string, name: string): string => (folder === "" ? name : `${folder}/${name}`);
  const takeFile = (folder: string, name: string, { optional = false } = {}): void => {
    if (inside(folder).includes(name)) small.push(at(folder, name));
    else if (!optional) missing.push(at(folder, name));
  };
  const takeWeights = (folder: string): void => {
    const all = inside(folder);
    const found = (variant === undefined ? null : weightsAmong(all, variant)) ?? weightsAmong(all, undefined);
    if (variant !== undefined && weightsAmong(all, variant)) varied = true;
    if (found?.single) singles.push(at(folder, found.single));
    else if (found?.index) {
      small.push(at(folder, found.index));
      indexes.push({ folder, index: found.index });
    } else if (found?.numbered) singles.push(...found.numbered.map((name) => at(folder, name)));
    else missing.push(at(folder, "*.safetensors"));
  };
  const takeDepthPro = (folder: string): void => {
    takeFile(folder, "config.json");
    takeFile(folder, "preprocessor_config.json", { optional: true });
    takeWeights(folder);
  };

  const isFlux = names.some((name) => /^(model_index\.json|transformer\/)/.test(name));
  if (kind === "Depth Pro") {
    takeFile("", "model_index.json", { optional: true });
    takeDepthPro(
      !names.includes("config.json") && names.includes(`${depthProFolder}/config.json`) ? depthProFolder : "",
    );
  } else if (kind === "FLUX.1 configs") {
    takeFile("", "model_index.json", { optional: true });
    for (const folder of weightFolders) takeFile(folder, "config.json");
    takeFile("scheduler", "scheduler_config.json");
  } else if (!isFlux) {
    // Another kind of model, which its config names.
    takeFile("", "config.json", { optional: true });
    missing.push("model_index.json");
  } else {
    for (const name of inside("").filter(isConfig)) takeFile("", name);
    // Folders saved by mflux have numbered files and no configs.
    const bare = inside("transformer").includes("0.safetensors");
    for (const folder of weightFolders) {
      for (const name of inside(folder).filter(isConfig)) takeFile(folder, name);
      takeFile(folder, "config.json", { optional: bare || small.includes(`${folder}/config.json`) });
      takeWeights(folder);
    }
    takeFile("scheduler", "scheduler_config.json", { optional: bare });
    for (const folder of ["tokenizer", "tokenizer_2"]) {
      const hasOne = inside(folder).includes("tokenizer.json");
      if (hasOne || folder === "tokenizer_2") takeFile(folder, "tokenizer.json");
      else for (const name of ["vocab.json", "merges.txt"]) takeFile(folder, name);
      takeFile(folder, "tokenizer_config.json");
      takeFile(folder, "special_tokens_map.json", { optional: true });
    }
    if (inside(depthProFolder).includes("config.json")) takeDepthPro(depthProFolder);
  }
  if (variant !== undefined && !varied && kind !== "FLUX.1 configs") missing.push(`*.${variant}.safetensors`);
  return {
    small: [...new Set(small)],
    missing,
    weights: (folder) => [
      ...singles,
      ...indexes.flatMap(({ folder: part, index }) =>
        shardsOf(join(folder, part), index).map((shard) => at(part, shard)),
      ),
    ],
  };
}

const isConfig = (name: string): boolean => name.endsWith(".json") && !/\.index\b.*\.json$/.test(name);

/** What a folder lacks of a model, by the names of files; empty when it is whole. */
export function missingFiles(folder: string, kind: ModelKind, variant: string | undefined): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    // A link in the cache may lead nowhere.
    .filter((name) => existsSync(join(folder, name)) && !isFolder(join(folder, name)));
  const { missing, weights } = neededFiles(names, kind, variant);
  return [...missing, ...weights(folder).filter((name) => !names.includes(name))];
}

/** Python's patterns for the names of files: `*` stands for anything, slashes too, `?` for one character. */
export interface Patterns {
  /** Only these, when there are any. */
  readonly allow?: readonly string[] | undefined;
  /** Not these. */
  readonly ignore?: readonly string[] | undefined;
}

/** Whether patterns let a file pass (huggingface_hub: filter_repo_objects). */
export function isWanted(name: string, { allow = [], ignore = [] }: Patterns): boolean {
  const matches = (pattern: string): boolean => globPattern(pattern).test(name);
  return (allow.length === 0 || allow.some(matches)) && !ignore.some(matches);
}

function globPattern(pattern: string): RegExp {
  const whole = pattern.endsWith("/") ? `${pattern}*` : pattern;
  const source = whole.replaceAll(
    /\[(!?)([^\]]+)\]|[\s\S]/g,
    (text, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not ? "^" : ""}${set.replaceAll(/[\\^[]/g, "\\$&")}]`;
      if (text === "*") return "[\\s\\S]*";
      if (text === "?") return "[\\s\\S]";
      return text.replace(/[\\^$.*+?()[\]{}|]/, "\\$&");
    },
  );
  return new RegExp(`^${source}$`);
}
