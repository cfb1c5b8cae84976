/*
 * The kinds of repositories that a generation needs. Neither this file nor its imports load MLX, so that a process that
 * only downloads models stays small.
 */
import { estimatorKind } from "../depth/repository.js";
import type { RepositoryKind } from "../hub/kind.js";
import { anyOf } from "./any-kind.js";
import { familyDescriptions } from "./descriptions.js";
import type { FamilyDescription } from "./family.js";

/**
 * Why a repository is needed: for generating, for generating with a control LoRA, for everything except the denoising
 * network, for the configs of a model saved without them, or for estimating depth.
 */
export type ModelPurpose = "generation" | "base" | "components" | "configs" | "depth";

const descriptions: readonly FamilyDescription[] = familyDescriptions;

/** The folders of the default model's repository, which is of the first family. */
export const defaultModelFolders: readonly string[] = descriptions[0]?.kind.folders ?? [];

/** The kind of repository to look for. Its files decide which family a model belongs to. */
export const kindFor: Readonly<Record<ModelPurpose, RepositoryKind>> = {
  generation: anyOf(descriptions.map(({ kind }) => kind)),
  base: anyOf(descriptions.flatMap(({ baseKind = [] }) => baseKind)),
  components: anyOf(descriptions.flatMap(({ componentsKind = [] }) => componentsKind)),
  configs: anyOf(descriptions.flatMap(({ configsKind = [] }) => configsKind)),
  depth: estimatorKind,
};
