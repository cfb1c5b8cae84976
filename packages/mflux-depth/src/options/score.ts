import { loadOptions, type OptionSpec, type OptionTable, optionsFor } from "./table.js";

/** The options of a score, in the order of help. */
export const scoreOptions = {
  depth: {
    kind: { type: "image" },
    text: "The depth map that the image was made from; near is white.",
    flags: ["--depth"],
    value: "MAP",
  },
  photo: {
    kind: { type: "image" },
    text: "The photo that the image was made from, instead of a map: its depth is estimated too.",
    flags: ["--photo"],
    value: "FILE",
  },
  /** Not MFLUX_DEPTH_DEPTH_MODEL: that names the estimator that maps come from, which must not judge itself. */
  depthModel: {
    kind: { type: "text" },
    text: "The depth estimator that judges: a repository, a folder, or a bundled one.",
    defaultText:
      "one that the map did not come from, as the image's parameters say; a bundled one for tiny-world",
    flags: ["--depth-model"],
    value: "NAME",
  },
  ...optionsFor(loadOptions, "score"),
} as const satisfies OptionTable;

/** The number of images to compare to find the most faithful. The library compares them in a function of its own. */
export const bestOfOption = {
  kind: { type: "integer", min: 2, max: 100 },
  text: "Make this many images with different seeds, score how faithfully each keeps the depth map, and keep the best.",
  flags: ["--best-of"],
  value: "N",
} as const satisfies OptionSpec;
