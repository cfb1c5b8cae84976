/*
 * The options of requests, models and depth maps, each once: name, kind, default, text, flags, and where it applies.
 * TypeScript types, checks, flags, JSON Schema, and the kinds and defaults of node properties are derived from these
 * tables.
 */
import {
  defaultDepthModel,
  defaultModel,
  defaultStrength,
  longestPrompt,
  longestPromptText,
} from "./defaults.js";
import type { OptionKind } from "./kinds.js";

/** The commands that take an option. */
export type OptionScope = "generate" | "plan" | "depth" | "score" | "save" | "download";

/** The heading under which help lists an option of a depth map. */
export type OptionGroup = "map" | "result";

/** One option, as the tables declare it. */
export interface OptionSpec {
  readonly kind: OptionKind;
  /** One sentence for help, forms and documentation, without default and range, which are added. */
  readonly text: string;
  /** The default value. If it depends on something else, leave it out and describe it in `defaultText`. */
  readonly default?: string | number | boolean;
  readonly defaultText?: string;
  /** Whether a value must be given. */
  readonly required?: boolean;
  /** On the command line; the first is the canonical one. */
  readonly flags: readonly string[];
  /** The placeholder for the value in help. */
  readonly value?: string;
  /** Whether the command line takes several values. */
  readonly many?: boolean;
  /** The environment variable that replaces the default on the command line. */
  readonly env?: string;
  /** A narrower range for forms and nodes. */
  readonly form?: { readonly min: number; readonly max: number };
  /** Absent in tables with one group. */
  readonly group?: OptionGroup;
  readonly appliesTo?: readonly OptionScope[];
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Seeds fit into 32 bits, because mflux makes MLX's keys from them. */
export const maxSeed = 2 ** 32 - 1;

const size = {
  kind: { type: "integer", min: 16, max: 4096, floorTo: 16 },
  default: 1024,
  value: "PIXELS",
  form: { min: 256, max: 2048 },
  appliesTo: ["generate", "plan"],
} as const;

const percentile = { kind: { type: "number", min: 0, max: 100 }, value: "PERCENT" } as const;

/**
 * How values become the grey levels of a depth map: for the map that guides an image, and for one that is written to a
 * file. A given map that guides an image keeps its levels as long as both percentiles have their defaults.
 */
const levels = {
  near: { ...percentile, default: 100 },
  far: { ...percentile, default: 0 },
  gamma: {
    kind: { type: "number", min: 0.01, max: 100 },
    default: 1,
    text: "Gamma: above 1 gives distant areas more contrast, below 1 near areas.",
    value: "N",
  },
} as const;

/** The options of a request: one generated image. In the order of help and forms. */
export const requestOptions = {
  prompt: {
    kind: { type: "text", max: longestPromptText },
    required: true,
    text: "What to draw; the geometry comes from the depth map.",
    flags: ["--prompt"],
    value: "TEXT",
    appliesTo: ["generate"],
  },
  image: {
    kind: { type: "image" },
    text: "A photo. Without a depth map, its depth is estimated; with one, it guides the content.",
    flags: ["--image-path", "--image"],
    value: "FILE",
    appliesTo: ["generate", "plan"],
  },
  maskImage: {
    kind: { type: "image" },
    text: "A mask of the photo's size: the photo changes only where the mask is white. Grey areas are mixed; transparent areas count as white.",
    flags: ["--mask-image"],
    value: "FILE",
    appliesTo: ["generate", "plan"],
  },
  depthImage: {
    kind: { type: "image" },
    text: "A depth map, white = near; it is stretched to the size of the image.",
    flags: ["--depth-image-path", "--depth-image"],
    value: "FILE",
    appliesTo: ["generate", "plan"],
  },
  invertDepth: {
    kind: { type: "boolean" },
    default: false,
    text: "Swap near and far: white means far in the depth map.",
    flags: ["--invert-depth"],
    appliesTo: ["generate"],
  },
  depthNear: {
    ...levels.near,
    text: "Percentile of the depth map that becomes white; anything nearer is white too. A given map keeps its levels at 100 and 0.",
    flags: ["--depth-near"],
    appliesTo: ["generate"],
  },
  depthFar: {
    ...levels.far,
    text: "Percentile of the depth map that becomes black; anything farther is black too.",
    flags: ["--depth-far"],
    appliesTo: ["generate"],
  },
  depthGamma: { ...levels.gamma, flags: ["--depth-gamma"], appliesTo: ["generate"] },
  depthStrength: {
    kind: { type: "number", min: 0, max: 1 },
    default: 1,
    text: "How strongly the depth map guides the image; 0 ignores it.",
    flags: ["--depth-strength"],
    value: "SHARE",
    appliesTo: ["generate"],
  },
  depthStart: {
    kind: { type: "number", min: 0, max: 1 },
    default: 0,
    text: "The share of the steps after which the depth map begins to guide.",
    flags: ["--depth-start"],
    value: "SHARE",
    appliesTo: ["generate"],
  },
  depthStop: {
    kind: { type: "number", min: 0, max: 1 },
    default: 1,
    text: "The share of the steps after which the depth map no longer guides.",
    flags: ["--depth-stop"],
    value: "SHARE",
    appliesTo: ["generate"],
  },
  trustDepth: {
    kind: { type: "boolean" },
    default: false,
    text: "Trust that white means near, and skip the inverted-map check, which estimates the depth of the photo if there is one.",
    flags: ["--trust-depth"],
    appliesTo: ["generate"],
  },
  imageStrength: {
    kind: { type: "number", min: 0, max: 1 },
    text: "The share of steps to skip by starting from the photo; 0 takes no content from it.",
    defaultText: `${defaultStrength} with both a photo and a depth map, otherwise 0`,
    flags: ["--image-strength"],
    value: "SHARE",
    appliesTo: ["generate", "plan"],
  },
  steps: {
    kind: { type: "integer", min: 1, max: 50 },
    default: 20,
    text: "Denoising steps.",
    flags: ["--steps"],
    value: "N",
    appliesTo: ["generate"],
  },
  guidance: {
    kind: { type: "number", min: 0, max: 100 },
    default: 10,
    text: "How closely the image follows the prompt.",
    flags: ["--guidance"],
    value: "SCALE",
    appliesTo: ["generate"],
  },
  width: { ...size, text: "Width of the image, floored to a multiple of 16.", flags: ["--width"] },
  height: { ...size, text: "Height of the image, floored to a multiple of 16.", flags: ["--height"] },
  size: {
    kind: { type: "choice", values: ["auto"] },
    text: "With auto, the image has the proportions of the photo, or of the depth map if there is no photo, and width × height sets only the approximate number of pixels.",
    defaultText: "the given width and height",
    flags: ["--size"],
    value: "auto",
    appliesTo: ["generate", "plan"],
  },
  fit: {
    kind: { type: "choice", values: ["stretch", "crop", "pad"] },
    default: "stretch",
    text: "How to fit the photo and the depth map to the proportions of the image: stretch them, crop two sides, or pad two sides by repeating the pixels at the edge.",
    flags: ["--fit"],
    value: "WAY",
    appliesTo: ["generate"],
  },
  seed: {
    kind: { type: "integer", min: 0, max: maxSeed },
    default: 0,
    text: "The same seed gives the same image; 0 draws a random seed and reports it.",
    flags: ["--seed"],
    value: "N",
    many: true,
    appliesTo: ["generate"],
  },
  /** The command line gives scales with the files. */
  loraScales: {
    kind: { type: "numbers", each: { min: -100, max: 100 } },
    text: "The scales of the model's LoRAs for this image, in order; 0 turns a LoRA off. If omitted, the LoRAs keep the scales they were loaded with.",
    flags: [],
    appliesTo: ["generate"],
  },
  maxSequenceLength: {
    kind: { type: "integer", min: 1, max: longestPrompt },
    text: "Tokens of the prompt that the T5 encoder reads.",
    defaultText: `${longestPrompt}, or the tokenizer's limit, if lower`,
    flags: ["--max-sequence-length"],
    value: "N",
    appliesTo: ["generate", "plan"],
  },
  /** Accepts the values alone, or with their shape, like the `latents` of a result. */
  latents: {
    kind: { type: "tensor" },
    text: "A safetensors file with the initial noise, [1, 16, height/8, width/8]; replaces the noise drawn from the seed.",
    flags: ["--latents"],
    value: "FILE",
    appliesTo: ["generate"],
  },
} as const satisfies OptionTable;

/** The options of a model: which weights, and how they are held. In the order of help and forms. */
export const loadOptions = {
  model: {
    kind: { type: "model" },
    default: defaultModel,
    text: "A Hub repository, a folder, tiny-world for the bundled small checkpoint, or a transformer in one file (FILE or REPO:FILE).",
    flags: ["--model", "-m"],
    value: "NAME",
    env: "MFLUX_DEPTH_MODEL",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  revision: {
    kind: { type: "text" },
    text: "The branch, tag or commit of the repository.",
    defaultText: "main",
    flags: ["--revision"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  variant: {
    kind: { type: "text" },
    text: "One of several versions of the weights, such as fp16 for model.fp16.safetensors.",
    defaultText: "the unnamed version",
    flags: ["--variant"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  offline: {
    kind: { type: "boolean" },
    default: false,
    text: "Use local files only; fail if any are missing. HF_HUB_OFFLINE=1 does the same.",
    flags: ["--offline"],
    appliesTo: ["generate", "plan", "depth", "score", "save"],
  },
  componentsFrom: {
    kind: { type: "text" },
    text: "The repository or folder with the text encoders and the VAE for a model in one file.",
    defaultText: defaultModel,
    flags: ["--components-from"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  textEncoder: {
    kind: { type: "text" },
    text: "The first text encoder, CLIP, in a file of its own: FILE or REPO:FILE.",
    defaultText: "the model's",
    flags: ["--text-encoder"],
    value: "FILE",
    appliesTo: ["generate", "plan", "download"],
  },
  textEncoder2: {
    kind: { type: "text" },
    text: "The second text encoder, T5, in a file of its own, safetensors or GGUF: FILE or REPO:FILE.",
    defaultText: "the model's",
    flags: ["--text-encoder-2"],
    value: "FILE",
    appliesTo: ["generate", "plan", "download"],
  },
  vae: {
    kind: { type: "text" },
    text: "The VAE in a file of its own, with diffusers' or Black Forest Labs' names: FILE or REPO:FILE.",
    defaultText: "the model's",
    flags: ["--vae"],
    value: "FILE",
    appliesTo: ["generate", "plan", "download"],
  },
  /** Models saved by mflux do not include configs. */
  configFrom: {
    kind: { type: "text" },
    text: "The folder or repository with the configs of a model saved by mflux.",
    defaultText: "FLUX.1-Depth-dev's, where the sizes match",
    flags: ["--config-from"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  depthModel: {
    kind: { type: "text" },
    text: "The depth estimator for photos: a repository, a folder, or tiny-depth-anything for a small bundled one.",
    defaultText: `${defaultDepthModel}, or the bundled one for tiny-world`,
    flags: ["--depth-model"],
    value: "NAME",
    env: "MFLUX_DEPTH_DEPTH_MODEL",
    appliesTo: ["generate", "plan", "depth", "download"],
  },
  loras: {
    kind: { type: "adapters", scale: { min: -100, max: 100 } },
    text: "A LoRA: a file, a folder or a Hub repository, followed by its scale, which may be negative. If the repository has several files, add the file's name after a colon.",
    defaultText: "none; a scale left out is 1",
    flags: ["--lora"],
    value: "FILE|REPO[:FILE] [SCALE]",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  bakeLora: {
    kind: { type: "boolean" },
    default: false,
    text: "Merge the LoRAs into the weights before these are quantized: steps take no longer, and scales are fixed.",
    flags: ["--bake-lora"],
    appliesTo: ["generate", "plan", "save"],
  },
  loraLenient: {
    kind: { type: "boolean" },
    default: false,
    text: "Use the part of a LoRA that fits the model, and warn about the rest instead of refusing the file.",
    flags: ["--lora-lenient"],
    appliesTo: ["generate", "plan", "save"],
  },
  depthQuantize: {
    kind: { type: "choice", values: [8, "none"] },
    text: "Bits per weight of the depth estimator: 8 takes about a third of the memory, and changed no value of our test maps by more than 1 of 255; none keeps float32.",
    defaultText: "8 on Linux CPUs with AVX-512 VNNI or AVX-VNNI, none elsewhere",
    flags: ["--depth-quantize"],
    value: "BITS",
    appliesTo: ["generate", "plan", "depth"],
  },
  depthInt8: {
    kind: { type: "boolean" },
    text: "Hold the depth estimator in 8 bits and round the inputs of most layers to 8 bits, too: about one and a half times as fast, and changed no value of our test maps by more than 1.5 of 255. Default where its weights have 8 bits, on Linux CPUs with AVX-512 VNNI or AVX-VNNI.",
    flags: ["--depth-int8", "--no-depth-int8"],
    appliesTo: ["generate", "plan", "depth"],
  },
  /** `null` means "none". */
  quantize: {
    kind: { type: "choice", values: [3, 4, 5, 6, 8, "none"] },
    default: 4,
    text: "Bits per weight: fewer bits take less memory and lose some quality; none leaves the weights unquantized.",
    flags: ["--quantize", "-q"],
    value: "BITS",
    appliesTo: ["generate", "plan", "save"],
  },
  int8: {
    kind: { type: "boolean" },
    text: "Round layer inputs to 8 bits, multiply quantized weights as integers, and attend in bfloat16 where the processor supports it: several times faster, and more accurate than bfloat16. Default for quantized weights on Linux CPUs with AVX-512 VNNI or AVX-VNNI, or AVX2 for up to 6 bits. When off, these layers compute in float32.",
    flags: ["--int8", "--no-int8"],
    appliesTo: ["generate", "plan"],
  },
  dtype: {
    kind: { type: "choice", values: ["float32", "bfloat16", "float16"] },
    text: "The number format of the computation.",
    defaultText: "bfloat16 on a GPU, float32 on a CPU",
    flags: ["--dtype"],
    value: "TYPE",
    appliesTo: ["generate", "plan", "save"],
  },
  device: {
    kind: { type: "choice", values: ["gpu", "cpu"] },
    text: "Where to compute.",
    defaultText: "the GPU, if there is one",
    flags: ["--device"],
    value: "NAME",
    env: "MFLUX_DEPTH_DEVICE",
    appliesTo: ["generate", "plan", "depth", "score"],
  },
  memory: {
    kind: { type: "choice", values: ["resident", "low"] },
    default: "resident",
    text: "Keep all weights for the next image (resident), or only those of the current stage (low).",
    flags: ["--memory"],
    value: "POLICY",
    appliesTo: ["generate", "plan"],
  },
  threads: {
    kind: { type: "integer", min: 1, max: 64 },
    text: "Threads that share the work on a Linux CPU.",
    defaultText: "MFLUX_DEPTH_THREADS, or the cores this process may use",
    flags: ["--threads"],
    value: "N",
    appliesTo: ["generate", "plan"],
  },
  cacheLimitGb: {
    kind: { type: "number", min: 0, max: 10_000, exclusiveMin: true },
    text: "The most memory that MLX keeps in freed buffers, in GB (10⁹ bytes).",
    defaultText: "depends on the machine's memory",
    flags: ["--mlx-cache-limit-gb"],
    value: "GB",
    appliesTo: ["generate", "plan"],
  },
  force: {
    kind: { type: "boolean" },
    default: false,
    text: "Generate even if the estimate exceeds the available memory.",
    flags: ["--force"],
    appliesTo: ["generate", "plan"],
  },
} as const satisfies OptionTable;

/** The options of a depth map that is written to a file. In the order of help and forms. */
export const depthOptions = {
  invert: {
    kind: { type: "boolean" },
    default: false,
    text: "Make far white instead of near.",
    flags: ["--invert"],
    group: "map",
    appliesTo: ["depth"],
  },
  near: {
    ...levels.near,
    text: "Percentile of inverse depth mapped to white; anything nearer is white too.",
    flags: ["--near"],
    group: "map",
    appliesTo: ["depth"],
  },
  far: {
    ...levels.far,
    text: "Percentile of inverse depth mapped to black; anything farther is black too.",
    flags: ["--far"],
    group: "map",
    appliesTo: ["depth"],
  },
  gamma: { ...levels.gamma, flags: ["--gamma"], group: "map", appliesTo: ["depth"] },
  colour: {
    kind: { type: "boolean" },
    default: false,
    text: "Write a colour image for viewing, from violet (far) to yellow (near).",
    flags: ["--colour", "--color"],
    group: "map",
    appliesTo: ["depth"],
  },
  format: {
    kind: { type: "choice", values: ["png", "jpeg", "webp", "npy"] },
    text: "The file's format; npy is an array of float32 with the model's inverse depth.",
    defaultText: "from the output's extension, otherwise png",
    flags: ["--format"],
    value: "NAME",
    group: "result",
    appliesTo: ["depth"],
  },
  bits: {
    kind: { type: "choice", values: [8, 16] },
    default: 8,
    text: "Bits per pixel of a grey PNG.",
    flags: ["--bits"],
    value: "N",
    group: "result",
    appliesTo: ["depth"],
  },
  metres: {
    kind: { type: "boolean" },
    default: false,
    text: "Write distances in metres into the array; needs a focal length in EXIF or a model that estimates it.",
    flags: ["--metres", "--meters"],
    group: "result",
    appliesTo: ["depth"],
  },
} as const satisfies OptionTable;

/** The names of a table's options that apply to a scope or belong to a group. */
type NamesFor<T extends OptionTable, S extends OptionScope> = {
  [K in keyof T]: T[K] extends { appliesTo: readonly (infer A)[] } ? (S extends A ? K : never) : never;
}[keyof T];

type NamesIn<T extends OptionTable, G extends OptionGroup> = {
  [K in keyof T]: T[K] extends { group: G } ? K : never;
}[keyof T];

/** The options of a table that apply to a scope, in the table's order. */
export const optionsFor = <T extends OptionTable, S extends OptionScope>(
  table: T,
  scope: S,
): Pick<T, NamesFor<T, S>> => select(table, ({ appliesTo }) => appliesTo?.includes(scope) ?? false);

/** The options of a table that belong to a group, in the table's order. */
export const optionsIn = <T extends OptionTable, G extends OptionGroup>(
  table: T,
  group: G,
): Pick<T, NamesIn<T, G>> => select(table, (spec) => spec.group === group);

const select = <T extends OptionTable, K extends keyof T>(
  table: T,
  keep: (spec: OptionSpec) => boolean,
): Pick<T, K> => Object.fromEntries(Object.entries(table).filter(([, spec]) => keep(spec))) as Pick<T, K>;
