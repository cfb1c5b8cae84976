/*
 * Which options of the library a request over HTTP may set.
 */
import {
  bestOfOption,
  loadOptions,
  type OptionSpec,
  type OptionTable,
  requestOptions,
} from "mflux-depth/options";
import type { JobKind } from "../contract/index.js";
import { limits } from "./limits.js";

/** Files with initial noise cannot be sent as JSON. */
const { latents: _, ...withoutLatents } = requestOptions;

const { depthNear, depthFar, depthGamma, invertDepth } = requestOptions;

/** A job keeps all of its images, and may make one alone. */
const bestOf = {
  ...bestOfOption,
  kind: { ...bestOfOption.kind, min: 1 },
  default: 1,
  text: "Make this many images with seeds that count up, and rank them by how faithfully they keep the depth map.",
  form: { min: 1, max: 12 },
} as const satisfies OptionSpec;

/** The options of a job's `request`, by its kind. */
export const requestTables: Readonly<Record<JobKind, OptionTable>> = {
  generate: {
    ...withoutLatents,
    prompt: { ...requestOptions.prompt, kind: { type: "text", max: limits.promptCharacters } },
    bestOf,
  },
  depth: {
    image: { ...requestOptions.image, text: "The photo whose depth is estimated.", required: true },
    ...{ depthNear, depthFar, depthGamma, invertDepth },
  },
};

/**
 * The options of a job's `load`. A request names models and their precision in memory; everything else (device, memory,
 * threads) belongs to the server.
 */
export const loadTable: OptionTable = {
  model: {
    ...loadOptions.model,
    kind: { type: "text", max: 200 },
    text: "One of the models that GET /v1/models lists.",
  },
  depthModel: { ...loadOptions.depthModel, kind: { type: "text", max: 200 } },
  loras: { ...loadOptions.loras, text: "LoRAs that this server offers, each with its scale." },
  loraLenient: loadOptions.loraLenient,
  quantize: loadOptions.quantize,
  int8: loadOptions.int8,
};

/** Options whose values are pictures. */
export const pictureNames = (table: OptionTable): readonly string[] =>
  Object.keys(table).filter((name) => table[name]!.kind.type === "image");
