/*
 * Every option once: name, kind, range, default, text. Command-line flags, HTTP bodies, forms, the properties of
 * nodes and the documentation are made from this table; nobody else states a range or a default.
 */
import { OptionError } from "../errors.js";

export type Bits = 3 | 4 | 5 | 6 | 8;
export type DTypeName = "float32" | "bfloat16" | "float16";
export type DeviceName = "cpu" | "gpu";
export type MemoryPolicy = "resident" | "low";

/**
 * Pixels, row by row, channels interleaved. 8-bit values are 0 to 255, 16-bit 0 to 65535, floats 0 to 1.
 * One channel is grey, two grey and alpha, three RGB, four RGB and alpha (not premultiplied).
 */
export interface RawImage {
  readonly data: Uint8Array | Uint8ClampedArray | Uint16Array | Float32Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** A picture: the path of a file, the bytes of an encoded file, or pixels. */
export type ImageInput = string | Uint8Array | RawImage;

/** What to make. Everything but the prompt and one of the two pictures has a default. */
export interface GenerateRequest {
  readonly prompt: string;
  /** A photo: depth is inferred from it when there is no `depthImage`; with one, it guides content. */
  readonly image?: ImageInput | null | undefined;
  /** A depth map, near is white. */
  readonly depthImage?: ImageInput | null | undefined;
  /** Whether far is white in `depthImage`. */
  readonly invertDepth?: boolean | null | undefined;
  /** Whether near is white in `depthImage` beyond doubt. */
  readonly trustDepth?: boolean | null | undefined;
  readonly imageStrength?: number | null | undefined;
  readonly steps?: number | null | undefined;
  readonly guidance?: number | null | undefined;
  readonly width?: number | null | undefined;
  readonly height?: number | null | undefined;
  readonly seed?: number | null | undefined;
  readonly maxSequenceLength?: number | null | undefined;
  /** The initial noise, `[1, 16, height/8, width/8]`, in place of the seed's. */
  readonly latents?: Float32Array | null | undefined;
}

/** A request with every value checked and filled in. */
export interface ResolvedRequest {
  readonly prompt: string;
  readonly image: ImageInput | undefined;
  readonly depthImage: ImageInput | undefined;
  readonly invertDepth: boolean;
  readonly trustDepth: boolean;
  /** 0 when no picture guides content. */
  readonly imageStrength: number;
  readonly steps: number;
  readonly guidance: number;
  /** A multiple of 16. */
  readonly width: number;
  /** A multiple of 16. */
  readonly height: number;
  /** Never 0: a random one has been drawn. */
  readonly seed: number;
  /** Undefined: min(512, the tokenizer's). */
  readonly maxSequenceLength: number | undefined;
  readonly latents: Float32Array | undefined;
  /** One sentence for each value that was changed or has no effect. */
  readonly warnings: readonly string[];
}

/** A model as NodeTool and others name it. */
export interface ModelReference {
  /** A Hub repository, a folder, or "tiny-world". */
  readonly repo_id: string;
  /** The model's folder in the repository. */
  readonly path?: string | null | undefined;
  readonly variant?: string | null | undefined;
  /** Patterns as of Python's fnmatch: of the files that the model needs, only these are downloaded. */
  readonly allow_patterns?: readonly string[] | null | undefined;
  /** And not these. */
  readonly ignore_patterns?: readonly string[] | null | undefined;
  /** NodeTool's name for the kind of model; not looked at. */
  readonly type?: string | undefined;
}

/** Which weights, and how they are held. */
export interface LoadOptions {
  /** A Hub repository, a folder, or "tiny-world" for the bundled checkpoint. */
  readonly model?: string | ModelReference | null | undefined;
  readonly revision?: string | null | undefined;
  readonly variant?: string | null | undefined;
  /** Whether to use only what is on this machine. */
  readonly offline?: boolean | null | undefined;
  /** The folder or repository that a model saved by mflux was made from: such a model has no configs. */
  readonly configFrom?: string | null | undefined;
  readonly depthModel?: string | null | undefined;
  /** `null` or "none": not quantized. */
  readonly quantize?: Bits | "none" | null | undefined;
  /**
   * Quantized matrices are multiplied with inputs rounded to 8 bits; the transformer attends in bfloat16. By default so
   * where the weights are quantized and the processor can.
   */
  readonly int8?: boolean | null | undefined;
  readonly dtype?: DTypeName | null | undefined;
  readonly device?: DeviceName | null | undefined;
  readonly memory?: MemoryPolicy | null | undefined;
  /** Linux CPU: threads that share the work, of the whole process. */
  readonly threads?: number | null | undefined;
  /** The most that MLX keeps of freed buffers, in GB (10⁹ bytes). */
  readonly cacheLimitGb?: number | null | undefined;
  /** Whether to go on when the machine has less memory than a generation seems to need. */
  readonly force?: boolean | null | undefined;
}

/** Load options with every value checked and filled in; what the machine decides stays undefined. */
export interface ResolvedLoadOptions {
  readonly model: string;
  readonly revision: string | undefined;
  readonly variant: string | undefined;
  readonly path: string | undefined;
  readonly allowPatterns: readonly string[];
  readonly ignorePatterns: readonly string[];
  readonly offline: boolean;
  readonly configFrom: string | undefined;
  readonly depthModel: string | undefined;
  readonly quantize: Bits | null;
  readonly int8: boolean | undefined;
  readonly dtype: DTypeName | undefined;
  readonly device: DeviceName | undefined;
  readonly memory: MemoryPolicy;
  readonly threads: number | undefined;
  readonly cacheLimitGb: number | undefined;
  readonly force: boolean;
}

export type OptionKind =
  | { readonly type: "text"; readonly blank?: boolean }
  | { readonly type: "integer"; readonly min: number; readonly max: number; readonly floorTo?: number }
  | { readonly type: "number"; readonly min: number; readonly max?: number; readonly exclusiveMin?: boolean }
  | { readonly type: "choice"; readonly values: readonly (string | number)[] }
  | { readonly type: "boolean" }
  | { readonly type: "model" }
  | { readonly type: "image" }
  | { readonly type: "tensor" };

export interface OptionSpec {
  readonly kind: OptionKind;
  /** One sentence for help, forms and documentation, without default and range: those are added. */
  readonly text: string;
  /** The value when nothing is given; `undefined` when it depends (then `defaultText` says on what). */
  readonly default?: string | number | boolean;
  readonly defaultText?: string;
  /** On the command line, the first is the canonical one. None: not offered there. */
  readonly flags: readonly string[];
  /** What stands for the value in help. */
  readonly value?: string;
  /** May be given several times, or with several values. */
  readonly many?: boolean;
  /** The environment variable that replaces the default on the command line. */
  readonly env?: string;
  /** A narrower range for forms and nodes. */
  readonly form?: { readonly min: number; readonly max: number };
}

export type RequestOption = keyof GenerateRequest;
export type LoadOption = keyof LoadOptions;

/** Seeds fit 32 bits, as in MLX's keys that mflux makes from them. */
export const maxSeed = 2 ** 32 - 1;

const size = {
  kind: { type: "integer", min: 16, max: 4096, floorTo: 16 },
  default: 1024,
  value: "PIXELS",
  form: { min: 256, max: 2048 },
} as const;

/** Options of one picture, in the order of help and forms. */
export const requestOptions: Readonly<Record<RequestOption, OptionSpec>> = {
  prompt: {
    kind: { type: "text" },
    text: "What to draw; the geometry comes from the depth map.",
    flags: ["--prompt"],
    value: "TEXT",
  },
  image: {
    kind: { type: "image" },
    text: "A photo: depth is inferred from it; with a depth map it guides content instead.",
    flags: ["--image-path", "--image"],
    value: "FILE",
  },
  depthImage: {
    kind: { type: "image" },
    text: "A depth map, near is white; stretched to the size of the picture.",
    flags: ["--depth-image-path", "--depth-image"],
    value: "FILE",
  },
  invertDepth: {
    kind: { type: "boolean" },
    text: "The depth map has far in white: exchange near and far.",
    flags: ["--invert-depth"],
  },
  trustDepth: {
    kind: { type: "boolean" },
    text: "Do not look whether the depth map has far in white; with a photo too, that takes an estimate of its depth.",
    flags: ["--trust-depth"],
  },
  imageStrength: {
    kind: { type: "number", min: 0, max: 1 },
    text: "The share of steps skipped by starting from the photo; 0 takes no content from it.",
    defaultText: "0.3 when both a photo and a depth map are given, else 0",
    flags: ["--image-strength"],
    value: "SHARE",
  },
  steps: {
    kind: { type: "integer", min: 1, max: 50 },
    default: 20,
    text: "Denoising steps.",
    flags: ["--steps"],
    value: "N",
  },
  guidance: {
    kind: { type: "number", min: 0 },
    default: 10,
    text: "How closely the prompt is followed.",
    flags: ["--guidance"],
    value: "SCALE",
  },
  width: { ...size, text: "Width of the picture, floored to a multiple of 16.", flags: ["--width"] },
  height: { ...size, text: "Height of the picture, floored to a multiple of 16.", flags: ["--height"] },
  seed: {
    kind: { type: "integer", min: 0, max: maxSeed },
    default: 0,
    text: "The same seed gives the same picture; 0 draws a random one and says which.",
    flags: ["--seed"],
    value: "N",
    many: true,
  },
  maxSequenceLength: {
    kind: { type: "integer", min: 1, max: 512 },
    text: "Tokens of the prompt that the T5 encoder reads.",
    defaultText: "512, or less where the model's tokenizer says so",
    flags: ["--max-sequence-length"],
    value: "N",
  },
  latents: {
    kind: { type: "tensor" },
    text: "A safetensors file with the initial noise, [1, 16, height/8, width/8], in place of the seed's.",
    flags: ["--latents"],
    value: "FILE",
  },
};

/** Options of the model, in the order of help and forms. */
export const loadOptions: Readonly<Record<LoadOption, OptionSpec>> = {
  model: {
    kind: { type: "model" },
    default: "black-forest-labs/FLUX.1-Depth-dev",
    text: "A Hub repository, a folder, or tiny-world for the bundled small checkpoint.",
    flags: ["--model", "-m"],
    value: "NAME",
    env: "MFLUX_DEPTH_MODEL",
  },
  revision: {
    kind: { type: "text" },
    text: "The branch, tag or commit of the repository.",
    defaultText: "main",
    flags: ["--revision"],
    value: "NAME",
  },
  variant: {
    kind: { type: "text" },
    text: "Which of several versions of the weights, as fp16 in model.fp16.safetensors.",
    defaultText: "the one without a name",
    flags: ["--variant"],
    value: "NAME",
  },
  offline: {
    kind: { type: "boolean" },
    text: "Download nothing: use what is on this machine, or say what is missing. So does HF_HUB_OFFLINE=1.",
    flags: ["--offline"],
  },
  configFrom: {
    kind: { type: "text" },
    text: "The folder or repository with the configs of a model that mflux saved.",
    defaultText: "FLUX.1-Depth-dev's, where the sizes are its own",
    flags: ["--config-from"],
    value: "NAME",
  },
  depthModel: {
    kind: { type: "text" },
    text: "The Depth Pro model that infers depth from a photo: a repository or a folder.",
    defaultText: "apple/DepthPro-hf, or the bundled one for tiny-world",
    flags: ["--depth-model"],
    value: "NAME",
  },
  quantize: {
    kind: { type: "choice", values: [3, 4, 5, 6, 8, "none"] },
    default: 4,
    text: "Bits of a weight: fewer need less memory and lose some quality; none keeps them whole.",
    flags: ["--quantize", "-q"],
    value: "BITS",
  },
  int8: {
    kind: { type: "boolean" },
    text: "Multiply quantized weights with inputs rounded to 8 bits, and attend in bfloat16 where the processor can: several times as fast, for a loss below that of computing in bfloat16. Needs a Linux CPU with AVX-512 VNNI or AVX-VNNI, or AVX2 for up to 6 bits, where quantized weights are so by default; --no-int8 computes in float32.",
    flags: ["--int8", "--no-int8"],
  },
  dtype: {
    kind: { type: "choice", values: ["float32", "bfloat16", "float16"] },
    text: "The numbers that are computed with.",
    defaultText: "bfloat16 on a GPU, float32 on a CPU",
    flags: ["--dtype"],
    value: "TYPE",
  },
  device: {
    kind: { type: "choice", values: ["gpu", "cpu"] },
    text: "Where to compute.",
    defaultText: "the GPU where there is one",
    flags: ["--device"],
    value: "NAME",
    env: "MFLUX_DEPTH_DEVICE",
  },
  memory: {
    kind: { type: "choice", values: ["resident", "low"] },
    default: "resident",
    text: "Whether to keep weights for the next picture, or only what the current stage needs.",
    flags: ["--memory"],
    value: "POLICY",
  },
  threads: {
    kind: { type: "integer", min: 1, max: 64 },
    text: "How many threads share the work on a Linux CPU.",
    defaultText: "MFLUX_DEPTH_THREADS, or the cores that the process may use",
    flags: ["--threads"],
    value: "N",
  },
  cacheLimitGb: {
    kind: { type: "number", min: 0, exclusiveMin: true },
    text: "The most that MLX keeps of freed memory, in GB.",
    defaultText: "by the machine's memory",
    flags: ["--mlx-cache-limit-gb"],
    value: "GB",
  },
  force: {
    kind: { type: "boolean" },
    text: "Go on when the machine has less memory than this seems to need.",
    flags: ["--force"],
  },
};

/** The option's range in words: "a whole number from 1 to 50". */
export function describeKind(kind: OptionKind): string {
  switch (kind.type) {
    case "text":
      return "a text that is not blank";
    case "integer":
      return `a whole number from ${kind.min} to ${kind.max}`;
    case "number":
      if (kind.max !== undefined) return `a number from ${kind.min} to ${kind.max}`;
      return kind.exclusiveMin ? `a number above ${kind.min}` : `a number of at least ${kind.min}`;
    case "choice":
      return `one of ${kind.values.join(", ")}`;
    case "boolean":
      return "true or false";
    case "model":
      return "a repository (owner/name), a folder, or { repo_id, path, variant, allow_patterns, ignore_patterns }";
    case "image":
      return "a path, the bytes of an encoded picture, or { data, width, height, channels }";
    case "tensor":
      return "a Float32Array";
  }
}

const shown = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return `${value}`;
  if (value === null || value === undefined) return "nothing";
  return Array.isArray(value) ? "a list" : `a value of type ${typeof value}`;
};

const refuse = (name: string, kind: OptionKind, value: unknown): OptionError =>
  new OptionError(name, `${name} must be ${describeKind(kind)}, not ${shown(value)}.`);

/**
 * Checks a value that is already typed, as from JavaScript or JSON.
 * @throws {OptionError} naming the option, the value and what it may be.
 */
export function checkOption(name: string, kind: OptionKind, value: unknown): unknown {
  switch (kind.type) {
    case "text":
      if (typeof value !== "string" || (!kind.blank && value.trim() === "")) throw refuse(name, kind, value);
      return value;
    case "integer":
      if (typeof value !== "number" || !Number.isInteger(value) || value < kind.min || value > kind.max)
        throw refuse(name, kind, value);
      return value;
    case "number": {
      const inside =
        typeof value === "number" &&
        Number.isFinite(value) &&
        (kind.exclusiveMin ? value > kind.min : value >= kind.min) &&
        value <= (kind.max ?? Number.MAX_VALUE);
      if (!inside) throw refuse(name, kind, value);
      return value;
    }
    case "choice":
      if (!kind.values.includes(value as string | number)) throw refuse(name, kind, value);
      return value;
    case "boolean":
      if (typeof value !== "boolean") throw refuse(name, kind, value);
      return value;
    case "model":
      if (!isModel(value)) throw refuse(name, kind, value);
      return value;
    case "image":
      if (!isImageInput(value)) throw refuse(name, kind, value);
      return value;
    case "tensor":
      if (!(value instanceof Float32Array)) throw refuse(name, kind, value);
      return value;
  }
}

/**
 * Reads a value written as text, as on a command line or in a form, and checks it. Numbers are decimal; pictures
 * and tensors are paths and stay as they are.
 * @throws {OptionError} naming the option, the text and what it may be.
 */
export function parseOption(name: string, kind: OptionKind, text: string): unknown {
  switch (kind.type) {
    case "integer":
    case "number": {
      if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim())) throw refuse(name, kind, text);
      return checkOption(name, kind, Number(text));
    }
    case "choice": {
      const value = kind.values.find((v) => `${v}` === text.trim().toLowerCase());
      if (value === undefined) throw refuse(name, kind, text);
      return value;
    }
    case "boolean":
      if (text !== "true" && text !== "false") throw refuse(name, kind, text);
      return text === "true";
    case "image":
    case "tensor":
      if (text.trim() === "") throw new OptionError(name, `${name} must be the path of a file, not blank.`);
      return text;
    case "model":
    case "text":
      return checkOption(name, kind, text);
  }
}

function isModel(value: unknown): value is string | ModelReference {
  if (typeof value === "string") return value.trim() !== "";
  if (typeof value !== "object" || value === null) return false;
  const { repo_id, path, variant, allow_patterns, ignore_patterns, type, ...rest } = value as Partial<
    Record<keyof ModelReference, unknown>
  >;
  const isText = (one: unknown): boolean => typeof one === "string";
  return (
    isText(repo_id) &&
    (repo_id as string).trim() !== "" &&
    [path, variant, type].every((one) => one === undefined || one === null || isText(one)) &&
    [allow_patterns, ignore_patterns].every(
      (one) => one === undefined || one === null || (Array.isArray(one) && one.every(isText)),
    ) &&
    Object.keys(rest).length === 0
  );
}

function isImageInput(value: unknown): value is ImageInput {
  if (typeof value === "string") return value.trim() !== "";
  if (value instanceof Uint8Array) return true;
  if (typeof value !== "object" || value === null) return false;
  const { data, width, height, channels } = value as Partial<RawImage>;
  return ArrayBuffer.isView(data) && [width, height, channels].every((n) => typeof n === "number");
}

/** The value given for an option, checked; else its default. `null` counts as not given. */
function take(table: Readonly<Record<string, OptionSpec>>, name: string, given: unknown): unknown {
  const spec = table[name] as OptionSpec;
  return given === undefined || given === null ? spec.default : checkOption(name, spec.kind, given);
}

const randomSeed = (): number => {
  const [seed] = crypto.getRandomValues(new Uint32Array(1));
  return seed === undefined || seed === 0 ? randomSeed() : seed;
};

/**
 * Checks a request, fills in defaults, floors the size and draws a seed in place of 0.
 * @throws {OptionError} for a value outside its range, an option that does not exist, or options that contradict
 * each other. Pictures are only looked at when they are read.
 */
export function resolveRequest(request: GenerateRequest): ResolvedRequest {
  const value = <T>(name: RequestOption): T => take(requestOptions, name, request[name]) as T;
  const warnings: string[] = [];

  if (request.prompt === undefined || request.prompt === null)
    throw new OptionError("prompt", "prompt is missing: say what to draw.");
  const image = value<ImageInput | undefined>("image");
  const depthImage = value<ImageInput | undefined>("depthImage");
  if (image === undefined && depthImage === undefined)
    throw new OptionError(
      "depthImage",
      "Give a depth map (depthImage) or a photo to infer one from (image).",
    );

  const invertDepth = value<boolean | undefined>("invertDepth") ?? false;
  if (invertDepth && depthImage === undefined)
    warnings.push("invertDepth has no effect: there is no depth map (depthImage).");
  const trustDepth = value<boolean | undefined>("trustDepth") ?? false;

  const both = image !== undefined && depthImage !== undefined;
  const imageStrength = value<number | undefined>("imageStrength") ?? (both ? 0.3 : 0);
  if (imageStrength > 0 && image === undefined)
    throw new OptionError(
      "imageStrength",
      `imageStrength is ${imageStrength}, but there is no photo (image) to start from.`,
    );

  const floored = (name: "width" | "height"): number => {
    const given = value<number>(name);
    const multiple = Math.floor(given / 16) * 16;
    if (multiple !== given) warnings.push(`${name} ${given} is not a multiple of 16: ${multiple} is used.`);
    return multiple;
  };
  const [width, height] = [floored("width"), floored("height")];

  const latents = value<Float32Array | undefined>("latents");
  if (latents?.some((v) => !Number.isFinite(v)))
    throw new OptionError("latents", "latents holds values that are not finite numbers.");

  return {
    prompt: value("prompt"),
    image,
    depthImage,
    invertDepth,
    trustDepth,
    imageStrength,
    steps: value("steps"),
    guidance: value("guidance"),
    width,
    height,
    seed: value<number>("seed") || randomSeed(),
    maxSequenceLength: value("maxSequenceLength"),
    latents,
    warnings,
  };
}

/**
 * Checks load options and fills in defaults.
 * @throws {OptionError} for a value that an option cannot have.
 */
export function resolveLoadOptions(options: LoadOptions): ResolvedLoadOptions {
  const value = <T>(name: LoadOption): T => take(loadOptions, name, options[name]) as T;
  const quantize = options.quantize === null ? "none" : value<Bits | "none">("quantize");
  const model = value<string | ModelReference>("model");
  const reference: ModelReference = typeof model === "string" ? { repo_id: model } : model;
  const variant = value<string | undefined>("variant");
  if (variant && reference.variant && reference.variant !== variant)
    throw new OptionError(
      "variant",
      `variant is ${variant}, but the model is given with variant ${reference.variant}.`,
    );
  return {
    model: reference.repo_id,
    revision: value("revision"),
    variant: variant || reference.variant || undefined,
    path: reference.path || undefined,
    allowPatterns: reference.allow_patterns ?? [],
    ignorePatterns: reference.ignore_patterns ?? [],
    offline: value<boolean | undefined>("offline") ?? false,
    configFrom: value("configFrom"),
    depthModel: value("depthModel"),
    quantize: quantize === "none" ? null : quantize,
    int8: value("int8"),
    dtype: value("dtype"),
    device: value("device"),
    memory: value("memory"),
    threads: value("threads"),
    cacheLimitGb: value("cacheLimitGb"),
    force: value<boolean | undefined>("force") ?? false,
  };
}

/**
 * Refuses names that are not in a table, as from an HTTP body: a misspelt option must not pass unnoticed.
 * @throws {OptionError} naming the nearest option there is.
 */
export function refuseUnknown(names: Iterable<string>, known: Iterable<string>): void {
  const all = [...known];
  for (const name of names) {
    if (all.includes(name)) continue;
    const near = nearest(name, all);
    throw new OptionError(name, `There is no option ${name}${near ? `; did you mean ${near}?` : "."}`);
  }
}

/** The candidate with the fewest edits from a word, if that is near enough to be a misspelling of it. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
