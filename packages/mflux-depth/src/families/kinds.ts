/*
 * The kinds of repositories that a generation needs. Neither this file nor its imports load MLX, so that a process that
 * only downloads models stays small.
 */
import { estimatorKind } from "../depth/repository.js";
import type { RepositoryKind } from "../hub/kind.js";
import { anyOf } from "./any-kind.js";
import { familyDescriptions } from "./descriptions.js";

/**
 * Why a repository is needed: for generating, for generating with a control LoRA, for everything except the denoising
 * network, for the configs of a model saved without them, or for estimating depth.
 */
export type ModelPurpose = "generation" | "base" | "components" | "configs" | "depth";

/** The kind of repository to look for. Its files decide which family a model belongs to. */
export const kindFor: Readonly<Record<ModelPurpose, RepositoryKind>> = {
  generation: anyOf(familyDescriptions.map(({ kind }) => kind)),
  base: anyOf(familyDescriptions.map(({ baseKind }) => baseKind)),
  components: anyOf(familyDescriptions.map(({ componentsKind }) => componentsKind)),
  configs: anyOf(familyDescriptions.map(({ configsKind }) => configsKind)),
  depth: estimatorKind,
};
