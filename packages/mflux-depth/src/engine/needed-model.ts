/* Determines what a job needs from the Hub, and which files. Nothing here loads MLX. */
import { kindFor, type ModelPurpose } from "../families/kinds.js";
import type { RepositoryKind } from "../hub/kind.js";
import type { ModelSource } from "../hub/obtain.js";
import type { ResolvedLoadOptions } from "../options/index.js";
import { loraRepository } from "../pipeline/model/lora-source.js";
import { fileInRepository, fileKind } from "../pipeline/model/single-file-source.js";

/** A model, or a file of one, that a job needs. */
export interface NeededModel {
  readonly source: ModelSource;
  /** "file" is one file of a repository; "lora" is a LoRA. */
  readonly purpose: ModelPurpose | "file" | "lora";
  /** The file or LoRA in the job's notation: "owner/name:file". */
  readonly file?: string | undefined;
  /** For a generating model: the job's LoRAs. One of them may make a base model usable; they are downloaded first. */
  readonly loras?: ResolvedLoadOptions["loras"] | undefined;
}

/**
 * Says which files of its repository a needed model consists of. A base model has the same files as one that takes
 * depth maps.
 */
export function kindOf({ purpose, file = "" }: Pick<NeededModel, "purpose" | "file">): RepositoryKind {
  if (purpose !== "file" && purpose !== "lora") return kindFor[purpose];
  const named = fileInRepository(file);
  const kind = purpose === "lora" ? loraRepository(file)?.kind : named && fileKind(named.file);
  if (!kind) throw new Error(`${file} is in no repository`);
  return kind;
}

/** A repository's file as a needed model; null for a file on this machine. */
export function neededFile(
  name: string | undefined,
  { revision }: Pick<ModelSource, "revision"> = {},
): NeededModel[] {
  const named = name === undefined ? null : fileInRepository(name);
  return named ? [{ source: { model: named.repository, revision }, purpose: "file", file: name }] : [];
}

/** LoRAs as needed models, without those on this machine. */
export const neededLoras = (loras: ResolvedLoadOptions["loras"]): NeededModel[] =>
  loras.flatMap(({ source }) => {
    const found = loraRepository(source);
    return found ? [{ source: { model: found.repository }, purpose: "lora" as const, file: source }] : [];
  });
