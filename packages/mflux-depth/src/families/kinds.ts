/*
 * The kinds of repositories that a generation needs. Neither this file nor its imports load MLX, so that a process that
 * only downloads models stays small.
 */
import { estimatorKind } from "../depth/repository.js";
import type { RepositoryKind } from "../hub/kind.js";
import { configsKind, modelKind } from "./flux1-depth/repository.js";

/** The use of a repository: generating, configs for a model that was saved without them, or estimating depth. */
export type ModelPurpose = "generation" | "configs" | "depth";

/** The kind of repository to look for. A model is expected to be of the default family until its files are known. */
export const kindFor: Readonly<Record<ModelPurpose, RepositoryKind>> = {
  generation: modelKind,
  configs: configsKind,
  depth: estimatorKind,
};
