/* The next job in preparation: pictures, levels, prompt and options. It survives reloads and restarts. */
import type { JsonOptions } from "@mflux-depth/server/contract";
import { effect, signal } from "@preact/signals";
import { type Levels, neutralLevels } from "../canvas/index.js";
import type { SizeChoice } from "./size.js";
import { recall, remember } from "./storage.js";

/** A picture stored both by the server and by this browser. */
export interface Picture {
  /** The id of the upload. */
  readonly id: string;
  readonly name: string;
  readonly width: number;
  readonly height: number;
}

export interface Draft {
  readonly photo: Picture | null;
  /** A given depth map; without one, depth is estimated from the photo. */
  readonly map: Picture | null;
  /** Whether the person has confirmed a map that looks inverted. */
  readonly trusted: boolean;
  /** Whether only the part of the photo freed by its mask changes. */
  readonly masked: boolean;
  readonly levels: Levels;
  readonly prompt: string;
  /** Options of the request set by the person. */
  readonly request: JsonOptions;
  /** Loading options set by the person. */
  readonly load: JsonOptions;
  readonly size: SizeChoice;
  /** How to fit a picture whose aspect ratio differs from the size. */
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

/** The part of the draft that describes its pictures. */
export type Sources = Pick<Draft, "photo" | "map" | "trusted" | "masked" | "levels">;

/** New pictures, with default settings. */
export const withPictures = (pictures: Pick<Draft, "photo" | "map">): Sources => ({
  ...pictures,
  trusted: false,
  masked: false,
  levels: neutralLevels,
});

export const edit = (changes: Partial<Draft>): void => {
  draft.value = { ...draft.value, ...changes };
};

/** Sets an option of the request; undefined restores its default. */
export function setOption(option: string, value: JsonOptions[string] | undefined): void {
  edit({ request: withOption(draft.value.request, option, value) });
}

/** Sets a loading option; undefined restores its default. */
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

/** The picture that determines the aspect ratio: the photo, or the depth map if there is no photo. */
export const mainPicture = ({ photo, map }: Draft): Picture | null => photo ?? map;
