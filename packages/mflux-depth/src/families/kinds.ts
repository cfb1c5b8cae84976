/*
 * The kinds of repositories that a generation needs. This file and what it imports do without MLX, so that a process
 * that only downloads models stays small.
 */
import { estimatorKind } from "../depth/repository.js";
import type { RepositoryKind } from "../hub/kind.js";
import { configsKind, modelKind } from "./flux1-depth/repository.js";

/** What a repository is wanted for: whole generations, the configs of a model saved without them, or depth. */
export type ModelPurpose = "generation" | "configs" | "depth";

/** Until a repository's files are known, its model counts as one of the default family. */
export const kindFor: Readonly<Record<ModelPurpose, RepositoryKind>> = {
  generation: modelKind,
  configs: configsKind,
  depth: estimatorKind,
};
