/*
 * Every option once: name, kind, default, text, flags, and where it applies. TypeScript types, flags, JSON Schema,
 * forms and node properties are derived from these tables; ranges and defaults are stated only here.
 */
import { defaultDepthModel, defaultModel, longestPrompt, longestPromptText } from "./defaults.js";
import type { OptionKind } from "./kinds.js";

/** The commands that take an option. */
export type Purpose = "generate" | "plan" | "depth" | "save" | "download";

/** A heading that options of a table stand under in help and forms: how a depth map is made, and how it is written. */
export type OptionGroup = "map" | "result";

/** One option, as the tables declare it. */
export interface OptionSpec {
  readonly kind: OptionKind;
  /** One sentence for help, forms and documentation, without default and range, which are added. */
  readonly text: string;
  /** The value when nothing is given; absent when it depends, and then `defaultText` says on what. */
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
  readonly appliesTo?: readonly Purpose[];
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
  /** A photo: without `depthImage`, depth is inferred from it; with one, it guides the content. */
  image: {
    kind: { type: "image" },
    text: "A photo. Without a depth map, depth is inferred from it; with one, it guides the content.",
    flags: ["--image-path", "--image"],
    value: "FILE",
    appliesTo: ["generate", "plan"],
  },
  /** A depth map, white = near. */
  depthImage: {
    kind: { type: "image" },
    text: "A depth map, white = near; it is stretched to the size of the image.",
    flags: ["--depth-image-path", "--depth-image"],
    value: "FILE",
    appliesTo: ["generate", "plan"],
  },
  /** White means far in `depthImage`: swap near and far. */
  invertDepth: {
    kind: { type: "boolean" },
    default: false,
    text: "Swap near and far: white means far in the depth map.",
    flags: ["--invert-depth"],
    appliesTo: ["generate"],
  },
  /** Trust that white means near; skip the inverted-map check. */
  trustDepth: {
    kind: { type: "boolean" },
    default: false,
    text: "Trust that white means near, and skip the inverted-map check, which estimates the depth of the photo if there is one.",
    flags: ["--trust-depth"],
    appliesTo: ["generate"],
  },
  /** The share of steps that are skipped by starting from the photo. */
  imageStrength: {
    kind: { type: "number", min: 0, max: 1 },
    text: "The share of steps to skip by starting from the photo; 0 takes no content from it.",
    defaultText: "0.3 with both a photo and a depth map, else 0",
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
  /** How closely the image follows the prompt. */
  guidance: {
    kind: { type: "number", min: 0, max: 100 },
    default: 10,
    text: "How closely the image follows the prompt.",
    flags: ["--guidance"],
    value: "SCALE",
    appliesTo: ["generate"],
  },
  /** Pixels, floored to a multiple of 16. */
  width: { ...size, text: "Width of the image, floored to a multiple of 16.", flags: ["--width"] },
  /** Pixels, floored to a multiple of 16. */
  height: { ...size, text: "Height of the image, floored to a multiple of 16.", flags: ["--height"] },
  /** The same seed gives the same image; 0 draws a random one. */
  seed: {
    kind: { type: "integer", min: 0, max: maxSeed },
    default: 0,
    text: "The same seed gives the same image; 0 draws a random seed and reports it.",
    flags: ["--seed"],
    value: "N",
    many: true,
    appliesTo: ["generate"],
  },
  /** Tokens of the prompt that the T5 encoder reads. */
  maxSequenceLength: {
    kind: { type: "integer", min: 1, max: longestPrompt },
    text: "Tokens of the prompt that the T5 encoder reads.",
    defaultText: `${longestPrompt}, or less where the model's tokenizer says so`,
    flags: ["--max-sequence-length"],
    value: "N",
    appliesTo: ["generate", "plan"],
  },
  /**
   * The initial noise, `[1, 16, height/8, width/8]`; replaces the noise drawn from the seed. Takes the values alone, or
   * with their shape, like the `latents` of a result.
   */
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
  /** A Hub repository, a folder, or "tiny-world" for the bundled small checkpoint. */
  model: {
    kind: { type: "model" },
    default: defaultModel,
    text: "A Hub repository, a folder, or tiny-world for the bundled small checkpoint.",
    flags: ["--model", "-m"],
    value: "NAME",
    env: "MFLUX_DEPTH_MODEL",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  /** The branch, tag or commit of the repository. */
  revision: {
    kind: { type: "text" },
    text: "The branch, tag or commit of the repository.",
    defaultText: "main",
    flags: ["--revision"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  /** One of several versions of the weights: "fp16" for `model.fp16.safetensors`. */
  variant: {
    kind: { type: "text" },
    text: "One of several versions of the weights, such as fp16 for model.fp16.safetensors.",
    defaultText: "the one without a name",
    flags: ["--variant"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  /** Use only files on this machine. */
  offline: {
    kind: { type: "boolean" },
    default: false,
    text: "Download nothing: use the files on this machine, or say what is missing. HF_HUB_OFFLINE=1 does the same.",
    flags: ["--offline"],
    appliesTo: ["generate", "plan", "depth", "save"],
  },
  /** The folder or repository that a model saved by mflux was made from; such a model has no configs of its own. */
  configFrom: {
    kind: { type: "text" },
    text: "The folder or repository with the configs of a model saved by mflux.",
    defaultText: "FLUX.1-Depth-dev's, where the sizes match",
    flags: ["--config-from"],
    value: "NAME",
    appliesTo: ["generate", "plan", "save", "download"],
  },
  /** The Depth Pro model that infers depth from a photo: a repository or a folder. */
  depthModel: {
    kind: { type: "text" },
    text: "The Depth Pro model that infers depth from a photo: a repository or a folder.",
    defaultText: `${defaultDepthModel}, or the bundled one for tiny-world`,
    flags: ["--depth-model"],
    value: "NAME",
    appliesTo: ["generate", "plan", "depth", "download"],
  },
  /** Bits per weight; `null` or "none" leaves the weights whole. */
  quantize: {
    kind: { type: "choice", values: [3, 4, 5, 6, 8, "none"] },
    default: 4,
    text: "Bits per weight: fewer bits take less memory and lose some quality; none keeps the weights whole.",
    flags: ["--quantize", "-q"],
    value: "BITS",
    appliesTo: ["generate", "plan", "save"],
  },
  /**
   * Multiply quantized weights by inputs rounded to 8 bits, and attend in bfloat16. The default is true where the
   * weights are quantized and the processor supports it.
   */
  int8: {
    kind: { type: "boolean" },
    text: "Multiply quantized weights by inputs rounded to 8 bits, and attend in bfloat16 where the processor supports it: several times as fast, and less lossy than computing in bfloat16. Needs a Linux CPU with AVX-512 VNNI or AVX-VNNI, or AVX2 for up to 6 bits; on these it is the default for quantized weights. When off, they are computed in float32.",
    flags: ["--int8", "--no-int8"],
    appliesTo: ["generate", "plan"],
  },
  /** The number format of the computation: bfloat16 on a GPU and float32 on a CPU when absent. */
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
    defaultText: "the GPU where there is one",
    flags: ["--device"],
    value: "NAME",
    env: "MFLUX_DEPTH_DEVICE",
    appliesTo: ["generate", "plan", "depth"],
  },
  /** "resident" keeps all weights for the next image, "low" only those of the current stage. */
  memory: {
    kind: { type: "choice", values: ["resident", "low"] },
    default: "resident",
    text: "Keep all weights for the next image (resident), or only those of the current stage (low).",
    flags: ["--memory"],
    value: "POLICY",
    appliesTo: ["generate", "plan"],
  },
  /** Linux CPU: threads that share the work while this model computes. */
  threads: {
    kind: { type: "integer", min: 1, max: 64 },
    text: "Threads that share the work on a Linux CPU.",
    defaultText: "MFLUX_DEPTH_THREADS, or the cores this process may use",
    flags: ["--threads"],
    value: "N",
    appliesTo: ["generate", "plan"],
  },
  /** The most that MLX keeps of freed buffers while this model computes, in GB (10⁹ bytes). */
  cacheLimitGb: {
    kind: { type: "number", min: 0, max: 10_000, exclusiveMin: true },
    text: "The most memory that MLX keeps of freed buffers, in GB.",
    defaultText: "by the machine's memory",
    flags: ["--mlx-cache-limit-gb"],
    value: "GB",
    appliesTo: ["generate", "plan"],
  },
  /** Go on when a generation seems to need more memory than the machine has. */
  force: {
    kind: { type: "boolean" },
    default: false,
    text: "Go on when this seems to need more memory than the machine has.",
    flags: ["--force"],
    appliesTo: ["generate", "plan"],
  },
} as const satisfies OptionTable;

/** The options of a depth map that is written to a file. In the order of help and forms. */
export const depthOptions = {
  /** Make far white instead of near. */
  invert: {
    kind: { type: "boolean" },
    default: false,
    text: "Make far white instead of near.",
    flags: ["--invert"],
    group: "map",
    appliesTo: ["depth"],
  },
  /** The percentile of inverse depth that becomes white, with all that is nearer. */
  near: {
    kind: { type: "number", min: 0, max: 100 },
    default: 100,
    text: "The percentile of nearness that becomes white, with all that is nearer.",
    flags: ["--near"],
    value: "PERCENT",
    group: "map",
    appliesTo: ["depth"],
  },
  /** The percentile of inverse depth that becomes black, with all that is farther. */
  far: {
    kind: { type: "number", min: 0, max: 100 },
    default: 0,
    text: "The percentile of nearness that becomes black, with all that is farther.",
    flags: ["--far"],
    value: "PERCENT",
    group: "map",
    appliesTo: ["depth"],
  },
  /** Above 1, more of the range goes to what is far; below 1, to what is near. */
  gamma: {
    kind: { type: "number", min: 0.01, max: 100 },
    default: 1,
    text: "Above 1, more of the range goes to what is far; below 1, to what is near.",
    flags: ["--gamma"],
    value: "N",
    group: "map",
    appliesTo: ["depth"],
  },
  /** Write colours to look at, from violet (far) to yellow (near). */
  colour: {
    kind: { type: "boolean" },
    default: false,
    text: "Write colours to look at, from violet (far) to yellow (near).",
    flags: ["--colour", "--color"],
    group: "map",
    appliesTo: ["depth"],
  },
  /** The file's format; "npy" is an array of float32 with the model's inverse depth. */
  format: {
    kind: { type: "choice", values: ["png", "jpeg", "webp", "npy"] },
    text: "The file's format; npy is an array of float32 with the model's inverse depth.",
    defaultText: "that of the output's extension, else png",
    flags: ["--format"],
    value: "NAME",
    group: "result",
    appliesTo: ["depth"],
  },
  /** Bits per pixel of a grey PNG. */
  bits: {
    kind: { type: "choice", values: [8, 16] },
    default: 8,
    text: "Bits per pixel of a grey PNG.",
    flags: ["--bits"],
    value: "N",
    group: "result",
    appliesTo: ["depth"],
  },
  /** Write distances in metres into the array. */
  metres: {
    kind: { type: "boolean" },
    default: false,
    text: "Write distances in metres into the array; needs a focal length in EXIF or a model that estimates it.",
    flags: ["--metres", "--meters"],
    group: "result",
    appliesTo: ["depth"],
  },
} as const satisfies OptionTable;

/** The names of a table's options that apply to a purpose, or stand in a group. */
type NamesFor<T extends OptionTable, P extends Purpose> = {
  [K in keyof T]: T[K] extends { appliesTo: readonly (infer A)[] } ? (P extends A ? K : never) : never;
}[keyof T];

type NamesIn<T extends OptionTable, G extends OptionGroup> = {
  [K in keyof T]: T[K] extends { group: G } ? K : never;
}[keyof T];

/** The options of a table that apply to a purpose, in the table's order. */
export const optionsFor = <T extends OptionTable, P extends Purpose>(
  table: T,
  purpose: P,
): Pick<T, NamesFor<T, P>> => select(table, ({ appliesTo }) => appliesTo?.includes(purpose) ?? false);

/** The options of a table that stand in a group, in the table's order. */
export const optionsIn = <T extends OptionTable, G extends OptionGroup>(
  table: T,
  group: G,
): Pick<T, NamesIn<T, G>> => select(table, (spec) => spec.group === group);

const select = <T extends OptionTable, K extends keyof T>(
  table: T,
  keep: (spec: OptionSpec) => boolean,
): Pick<T, K> => Object.fromEntries(Object.entries(table).filter(([, spec]) => keep(spec))) as Pick<T, K>;
