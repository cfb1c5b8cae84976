/*
 * The known model families as data: how to recognise and download their models. Neither this file nor its imports load
 * MLX, so that a process that only downloads models stays small; registry.ts adds the networks.
 */
import type { FamilyDescription } from "./family.js";
import { flux1DepthDescription } from "./flux1-depth/repository.js";

/** All known families. Messages about a model that belongs to none refer to the first. */
export const familyDescriptions = [flux1DepthDescription] as const satisfies readonly FamilyDescription[];

export type FamilyId = (typeof familyDescriptions)[number]["id"];
