/* Builds the body of a job from a draft. Pure. */
import type { JobBody, JsonOptions } from "@mflux-depth/server/contract";
import { isNeutral, type Levels, neutralLevels } from "../canvas/index.js";
import type { Draft } from "./draft.js";
import type { Size } from "./size.js";

/** Uploads in place of the draft's pictures: cropped, padded or painted. */
export interface PreparedPictures {
  readonly photo: string | null;
  readonly map: string | null;
  /** The part of the photo that may change; null for all of it. */
  readonly mask: string | null;
  /** Whether the levels are already applied to the map. */
  readonly levelled: boolean;
}

/** The draft's own pictures, unchanged. */
export const picturesOf = ({ photo, map }: Draft): PreparedPictures => ({
  photo: photo?.id ?? null,
  map: map?.id ?? null,
  mask: null,
  levelled: false,
});

/** The approximate number of previews of a generation. */
const previews = 8;

/** The steps between two previews. */
export const previewEvery = (steps: number): number => Math.max(1, Math.round(steps / previews));

export interface JobParts {
  readonly draft: Draft;
  readonly pictures: PreparedPictures;
  readonly size: Size;
  readonly prompt: string;
  readonly steps: number;
}

/** The body for `POST /v1/jobs` and `POST /v1/plan`. */
export function jobBody({ draft, pictures, size, prompt, steps }: JobParts): JobBody {
  const { photo, map, mask, levelled } = pictures;
  return {
    kind: "generate",
    request: {
      // The strength is always sent, because its default depends on which pictures are present.
      ...(photo && { image: { blob: photo }, image_strength: 0 }),
      ...(mask && { mask_image: { blob: mask } }),
      ...(map && { depth_image: { blob: map } }),
      // The person has seen a map with levels applied, or has confirmed it.
      ...((levelled || (map !== null && draft.trusted)) && { trust_depth: true }),
      ...levelOptions(levelled ? neutralLevels : draft.levels),
      ...withoutPhotoOptions(draft.request, photo !== null),
      prompt,
      width: size.width,
      height: size.height,
    },
    ...(Object.keys(draft.load).length > 0 && { load: draft.load }),
    preview_every: previewEvery(steps),
  };
}

function withoutPhotoOptions(options: JsonOptions, hasPhoto: boolean): JsonOptions {
  if (hasPhoto) return options;
  const { image_strength: _, ...others } = options;
  return others;
}

const levelOptions = (levels: Levels): JsonOptions =>
  isNeutral(levels)
    ? {}
    : {
        depth_near: levels.near,
        depth_far: levels.far,
        depth_gamma: levels.gamma,
        invert_depth: levels.invert,
      };

/** The levels that a request names. */
export function levelsOf(request: JsonOptions): Levels {
  const number = (name: string, fallback: number): number => {
    const value = request[name];
    return typeof value === "number" ? value : fallback;
  };
  return {
    near: number("depth_near", neutralLevels.near),
    far: number("depth_far", neutralLevels.far),
    gamma: number("depth_gamma", neutralLevels.gamma),
    invert: request.invert_depth === true,
  };
}

/** The id of an upload that a request names. */
export function blobOf(request: JsonOptions, name: "image" | "depth_image" | "mask_image"): string | null {
  const value = request[name];
  if (typeof value !== "object" || value === null || !("blob" in value)) return null;
  return typeof value.blob === "string" ? value.blob : null;
}
