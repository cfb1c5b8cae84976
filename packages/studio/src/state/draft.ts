/*
 * What the person prepares: pictures, levels, prompt and options of the next job. It outlives reloads and restarts.
 */
import type { JsonOptions } from "@mflux-depth/server/contract";
import { effect, signal } from "@preact/signals";
import { type Levels, neutralLevels } from "../canvas/index.js";
import type { SizeChoice } from "./size.js";
import { recall, remember } from "./storage.js";

/** A picture that the server has and this browser keeps, too. */
export interface Picture {
  /** The id of the upload. */
  readonly id: string;
  readonly name: string;
  readonly width: number;
  readonly height: number;
}

export interface Draft {
  readonly photo: Picture | null;
  /** A depth map that was given; without one, depth is estimated from the photo. */
  readonly map: Picture | null;
  /** Whether the person has said that the given map is as it should be, although it looks inverted. */
  readonly trusted: boolean;
  /** Whether only the part of the photo changes that its mask frees. */
  readonly masked: boolean;
  readonly levels: Levels;
  readonly prompt: string;
  /** Options of the request that the person set. */
  readonly request: JsonOptions;
  /** Options of loading the model that the person set. */
  readonly load: JsonOptions;
  readonly size: SizeChoice;
  /** What happens where the size has other proportions than the picture. */
  readonly fit: "crop" | "pad";
}

const emptyDraft: Draft = {
  photo: null,
  map: null,
  trusted: false,
  masked: false,
  levels: neutralLevels,
  prompt: "",
  request: {},
  load: {},
  size: { mode: "auto" },
  fit: "crop",
};

const name = "draft";

export const draft = signal<Draft>({ ...emptyDraft, ...recall<Partial<Draft>>(name) });

effect(() => remember(name, draft.value));

/** What the draft is prepared from, and what belongs to it alone. */
export type Sources = Pick<Draft, "photo" | "map" | "trusted" | "masked" | "levels">;

/** Other pictures, as they are. */
export const withPictures = (pictures: Pick<Draft, "photo" | "map">): Sources => ({
  ...pictures,
  trusted: false,
  masked: false,
  levels: neutralLevels,
});

export const edit = (changes: Partial<Draft>): void => {
  draft.value = { ...draft.value, ...changes };
};

/** Sets an option of the request; undefined returns it to its default. */
export function setOption(option: string, value: JsonOptions[string] | undefined): void {
  edit({ request: withOption(draft.value.request, option, value) });
}

/** Sets an option of loading the model; undefined returns it to its default. */
export function setLoadOption(option: string, value: JsonOptions[string] | undefined): void {
  edit({ load: withOption(draft.value.load, option, value) });
}

function withOption(
  options: JsonOptions,
  option: string,
  value: JsonOptions[string] | undefined,
): JsonOptions {
  const { [option]: _, ...others } = options;
  return value === undefined ? others : { ...others, [option]: value };
}

/** The picture whose proportions count: the photo, or the depth map where there is no photo. */
export const mainPicture = ({ photo, map }: Draft): Picture | null => photo ?? map;
