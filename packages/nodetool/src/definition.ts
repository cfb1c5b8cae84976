/*
 * The node as NodeTool describes nodes. Names, titles and texts are NodeTool's; ranges and defaults are those of the
 * options.
 */
import { loadOptions, type OptionKind, type OptionSpec, requestOptions } from "mflux-depth/options";

/** A type in NodeTool's metadata. */
export interface TypeMetadata {
  readonly type: string;
  readonly optional?: boolean;
  readonly values?: readonly (string | number)[];
  readonly type_args: readonly TypeMetadata[];
  readonly type_name?: string;
}

export interface PropertyMetadata {
  readonly name: string;
  readonly type: TypeMetadata;
  readonly default: unknown;
  readonly title: string;
  readonly description: string;
  readonly min?: number;
  readonly max?: number;
}

export interface OutputMetadata {
  readonly name: string;
  readonly type: TypeMetadata;
}

/** What `discover` and `--describe` say of the node. */
export interface NodeMetadata {
  readonly node_type: string;
  readonly title: string;
  readonly namespace: string;
  readonly layout: string;
  readonly description: string;
  readonly properties: readonly PropertyMetadata[];
  readonly outputs: readonly OutputMetadata[];
  readonly recommended_models: readonly Readonly<Record<string, unknown>>[];
  readonly required_settings: readonly string[];
  readonly basic_fields: readonly string[];
  readonly inline_fields: readonly string[];
  readonly input_fields: readonly string[];
  readonly expose_as_tool: boolean;
  readonly is_streaming_output: boolean;
  readonly is_streaming_input: boolean;
  readonly is_dynamic: boolean;
}

/** The option behind each property that has a number or a choice for a value. */
const optionOf = {
  quantize: loadOptions.quantize,
  steps: requestOptions.steps,
  guidance: requestOptions.guidance,
  height: requestOptions.height,
  width: requestOptions.width,
  seed: requestOptions.seed,
} as const satisfies Record<string, OptionSpec>;

export type NumericProperty = keyof typeof optionOf;

/** What a value may be in the node: the option's kind, in the narrower range that forms have. */
export function kindOf(name: NumericProperty): OptionKind {
  const { kind, form }: OptionSpec = optionOf[name];
  return kind.type === "integer" && form ? { ...kind, ...form } : kind;
}

export const defaultOf = (name: NumericProperty): number => optionOf[name].default as number;

/** The repository that the node uses unless told otherwise. */
export const defaultModel: string = loadOptions.model.default as string;

const plain = (type: string): TypeMetadata => ({ type, type_args: [] });
const noImage = { type: "image", uri: "", asset_id: null, data: null };

const text = (name: string, title: string, value: string, description: string): PropertyMetadata => ({
  name,
  type: plain("str"),
  default: value,
  title,
  description,
});

const image = (name: string, title: string, description: string): PropertyMetadata => ({
  name,
  type: plain("image"),
  default: noImage,
  title,
  description,
});

/** A property with its option's default, and its range where `ranged`. */
function number(
  name: NumericProperty,
  title: string,
  description: string,
  { optional = false, ranged = true } = {},
): PropertyMetadata {
  const kind = kindOf(name);
  const shared = { title, default: defaultOf(name), description };
  if (kind.type === "choice") {
    const values = kind.values.filter((value) => typeof value === "number");
    // The name under which NodeTool's own MLX nodes declare these levels.
    const type_name = "nodetool.nodes.mlx.text_to_image.QuantizationLevel";
    return { name, type: { type: "enum", optional, values, type_args: [], type_name }, ...shared };
  }
  if (kind.type !== "integer" && kind.type !== "number") throw new TypeError(`${name} has no numbers`);
  const type = kind.type === "integer" ? "int" : "float";
  return {
    name,
    type: { type, ...(optional && { optional }), type_args: [] },
    ...shared,
    ...(ranged && { min: kind.min, ...(kind.max !== undefined && { max: kind.max }) }),
  };
}

const properties: readonly PropertyMetadata[] = [
  text(
    "prompt",
    "Prompt",
    "Highly detailed cinematic portrait with depth cues",
    "Primary text prompt for the depth-guided generation.",
  ),
  image("image", "Image", "Optional reference image used for depth extraction or as a content guide."),
  image(
    "depth_image",
    "Depth Image",
    "Optional depth map to guide geometry. If omitted, depth is inferred from the image when provided.",
  ),
  {
    name: "model",
    type: plain("hf.flux_depth"),
    default: {
      type: "hf.flux_depth",
      repo_id: defaultModel,
      path: null,
      variant: null,
      allow_patterns: null,
      ignore_patterns: null,
    },
    title: "Model",
    description: "Depth model weights compatible with the Flux depth pipeline.",
  },
  number("quantize", "Quantize", "Optional quantization level for model weights (reduces memory usage).", {
    optional: true,
  }),
  number("steps", "Steps", "Number of denoising steps for the generation run."),
  number(
    "guidance",
    "Guidance",
    "Classifier-free guidance scale. Defaults higher to encourage prompt adherence in depth mode.",
    { optional: true },
  ),
  number("height", "Height", "Height of the generated image in pixels."),
  number("width", "Width", "Width of the generated image in pixels."),
  // A slider over four thousand million seeds helps nobody.
  number("seed", "Seed", "Seed for deterministic generation. Leave 0 for random seed.", { ranged: false }),
];

const namespace = "mlx.image_to_image";

export const definition: NodeMetadata = {
  node_type: `${namespace}.MFluxDepth`,
  title: "MFlux Depth",
  namespace,
  layout: "default",
  description: `Generate images with depth guidance via the MFlux depth pipeline using local MLX acceleration.
    mlx, flux, depth, conditioning, structure-preserving

    Use cases:
    - Use a depth map to control structural composition while keeping prompt-driven appearance
    - Provide both source image and depth map to transfer scene layout to a new generation
    - Generate depth-guided outputs when only a depth map is available (source image optional)`,
  properties,
  outputs: [{ name: "output", type: plain("image") }],
  recommended_models: [
    {
      id: defaultModel,
      type: "hf.flux_depth",
      name: defaultModel,
      repo_id: defaultModel,
      path: null,
      allow_patterns: null,
      ignore_patterns: null,
      downloaded: false,
    },
  ],
  required_settings: [],
  basic_fields: properties.map(({ name }) => name),
  inline_fields: ["model", "prompt"],
  input_fields: ["prompt", "image", "depth_image"],
  expose_as_tool: true,
  is_streaming_output: false,
  is_streaming_input: false,
  is_dynamic: false,
};
