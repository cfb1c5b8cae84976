/* Finds the file of a LoRA: a file, a folder, or a repository on the Hub, through the same cache as models. */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, posix, resolve } from "node:path";
import { ModelError } from "../../errors.js";
import { isFile, isFolder } from "../../files/folders.js";
import {
  configFile,
  modelIndexFile,
  peftConfigFile,
  peftWeightsFile,
} from "../../files/repository-layout.js";
import type { RepositoryKind } from "../../hub/kind.js";
import { folderHere, type ObtainOptions, obtainRepository } from "../../hub/obtain.js";
import { isRepositoryName } from "../../hub/repository.js";
import { originOf, type SavedLora } from "../../weights/origin.js";
import { isWeightFile } from "../../weights/weight-files.js";
import { type FoundFile, fileInRepository, fileKind, findFile } from "./single-file-source.js";

export type { SavedLora } from "../../weights/origin.js";

/** The file of a LoRA on this machine. */
export interface LoraFile extends FoundFile {
  readonly sha256: string;
}

/** File names that diffusers and PEFT give to adapters. */
const usualNames = ["pytorch_lora_weights.safetensors", peftWeightsFile];

/**
 * Finds the file of a LoRA, and downloads it if it is not on this machine.
 * @param source a file, a folder with one, "owner/name" or "owner/name:file".
 * @throws {ModelError} when it does not exist, is not a safetensors file, is one of several, or cannot be downloaded.
 * @throws the signal's reason when cancelled.
 */
export async function findLora(
  source: string,
  options: Pick<ObtainOptions, "offline" | "signal" | "onProgress" | "env">,
): Promise<LoraFile> {
  const { path, ...place } = await locate(source, options);
  if (!isWeightFile(path))
    throw new ModelError(
      source,
      /\.(bin|pt|pth|ckpt|pkl)$/.test(path)
        ? "this is a pickle file, which can run code and is never opened; get the LoRA as safetensors"
        : "expected a LoRA in a file whose name ends in .safetensors; convert it, or choose another",
    );
  return { ...place, path, sha256: await hashOf(path, options.signal) };
}

async function locate(source: string, options: Parameters<typeof findLora>[1]): Promise<FoundFile> {
  if (isFolder(source)) {
    const folder = resolve(source);
    const path = join(folder, chooseFile(source, readdirSync(folder)));
    return { path, name: basename(folder), revision: null };
  }
  if (isFile(source) || fileInRepository(source))
    return findFile(source, {
      ...options,
      companion: companionOf(source),
    });
  if (!isRepositoryName(source))
    throw new ModelError(
      source,
      "there is no such file or folder, and it is not the name of a repository (owner/name or owner/name:file)",
      { code: "model-not-found" },
    );
  const found = await obtainRepository({ model: source }, { ...options, kind: loraKind(source) });
  const chosen = chooseFile(source, readdirSync(found.folder));
  return { name: source, path: join(found.folder, chosen), revision: found.revision ?? null };
}

/** The name of the adjacent file with a LoRA's strength; null if the LoRA's own file contains it. */
const companionOf = (source: string): string | null =>
  posix.basename(source.replace(/^.*:/, "")) === peftWeightsFile ? peftConfigFile : null;

/** The files of a LoRA on this machine: its own, and an adjacent one with its strength. */
export function filesOfLora(path: string): readonly string[] {
  const companion = companionOf(path);
  const sibling = companion === null ? null : join(dirname(path), companion);
  return sibling !== null && isFile(sibling) ? [path, sibling] : [path];
}

/** A LoRA in a repository on the Hub: its repository, and the files that it needs; null for one on this machine. */
export function loraRepository(
  source: string,
): { readonly repository: string; readonly kind: RepositoryKind } | null {
  if (isFolder(source) || isFile(source)) return null;
  const named = fileInRepository(source);
  if (named) return { repository: named.repository, kind: fileKind(named.file, companionOf(source)) };
  return isRepositoryName(source) ? { repository: source, kind: loraKind(source) } : null;
}

/** Files that models have and LoRAs do not. */
const modelFiles = [modelIndexFile, configFile];

/**
 * Whether a name stands for a LoRA on this machine, judging by file names only.
 * @param source as for {@link findLora}
 * @param env Hugging Face's environment variables.
 */
export function isLoraHere(source: string, env: NodeJS.ProcessEnv): boolean {
  if (isFile(source)) return isWeightFile(source);
  const repository = loraRepository(source)?.repository;
  const folder = isFolder(source) ? source : repository && folderHere({ model: repository }, env);
  if (!folder) return false;
  const file = fileInRepository(source)?.file;
  if (file !== undefined) return isFile(join(folder, file));
  const names = readdirSync(folder);
  if (modelFiles.some((name) => names.includes(name))) return false;
  return usualNames.some((name) => names.includes(name)) || names.filter(isWeightFile).length === 1;
}

/** The files of a repository that one LoRA needs. */
const loraKind = (repository: string): RepositoryKind => ({
  name: "LoRA",
  subject: "the LoRA",
  needed(names) {
    const chosen = chooseFile(repository, names, { optional: true });
    const config = chosen !== null && basename(chosen) === peftWeightsFile ? [peftConfigFile] : [];
    return {
      small: config.filter((name) => names.includes(name)),
      weights: () => (chosen === null ? [] : [chosen]),
      missing: chosen !== null && names.includes(chosen) ? [] : [chosen ?? "*.safetensors"],
    };
  },
});

/**
 * Chooses the LoRA among the names of files: one with a usual name, or the only safetensors file.
 * @throws {ModelError} when there are several, listing them, or none unless `optional`.
 */
function chooseFile(source: string, names: readonly string[], options: { optional: true }): string | null;
function chooseFile(source: string, names: readonly string[]): string;
function chooseFile(source: string, names: readonly string[], { optional = false } = {}): string | null {
  const usual = usualNames.find((name) => names.includes(name));
  if (usual !== undefined) return usual;
  const files = names.filter(isWeightFile).sort();
  const [only] = files;
  if (files.length > 1)
    throw new ModelError(
      source,
      `there are ${files.length} safetensors files; name one of them: ${files
        .slice(0, 8)
        .map((file) => `${source}${isFolder(source) ? "/" : ":"}${file}`)
        .join(", ")}${files.length > 8 ? ", …" : ""}`,
    );
  if (only === undefined && !optional) throw new ModelError(source, "there is no safetensors file");
  return only ?? null;
}

/**
 * The LoRAs that were saved in a model's folder.
 * @throws {ModelError} when the file that names them is damaged.
 */
export const savedLorasIn = (folder: string): readonly SavedLora[] => originOf(folder)?.loras ?? [];

/** Hashes by path, valid while a file's size and time stay the same. */
const hashes = new Map<string, { readonly state: string; readonly sha256: string }>();

async function hashOf(path: string, signal: AbortSignal | undefined): Promise<string> {
  const { size, mtimeMs } = statSync(path);
  const state = `${size} ${mtimeMs}`;
  const known = hashes.get(path);
  if (known?.state === state) return known.sha256;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Buffer);
  const sha256 = hash.digest("hex");
  hashes.set(path, { state, sha256 });
  return sha256;
}
