/*
 * The node's properties: the options it offers, with NodeTool's titles and texts. Kinds, ranges and defaults come from
 * the options, and everything else is derived from this list.
 */
import {
  type LoadOption,
  loadOptions,
  type OptionKind,
  type OptionSpec,
  type RequestOption,
  requestOptions,
  toJsonName,
} from "mflux-depth/options";

export interface NodeProperty {
  /** The option of the request or of the model that the property sets. */
  readonly option: RequestOption | LoadOption;
  readonly title: string;
  readonly description: string;
  /** Replaces the option's default. */
  readonly default?: string;
  /** Whether the property may be left empty in NodeTool. */
  readonly optional?: boolean;
  /** Whether to hide the range in forms. */
  readonly unranged?: boolean;
}

/** In the order of the node's form. */
export const nodeProperties: readonly NodeProperty[] = [
  {
    option: "prompt",
    title: "Prompt",
    default: "Highly detailed cinematic portrait with depth cues",
    description: "Primary text prompt for the depth-guided generation.",
  },
  {
    option: "image",
    title: "Image",
    description: "Optional reference image used for depth extraction or as a content guide.",
  },
  {
    option: "depthImage",
    title: "Depth Image",
    description:
      "Optional depth map to guide geometry. If omitted, depth is inferred from the image when provided.",
  },
  {
    option: "model",
    title: "Model",
    description: "Depth model weights compatible with the Flux depth pipeline.",
  },
  {
    option: "quantize",
    title: "Quantize",
    description: "Optional quantization level for model weights (reduces memory usage).",
    optional: true,
  },
  {
    option: "steps",
    title: "Steps",
    description: "Number of denoising steps for the generation run.",
  },
  {
    option: "guidance",
    title: "Guidance",
    description:
      "Classifier-free guidance scale. Defaults higher to encourage prompt adherence in depth mode.",
    optional: true,
  },
  { option: "height", title: "Height", description: "Height of the generated image in pixels." },
  { option: "width", title: "Width", description: "Width of the generated image in pixels." },
  {
    option: "seed",
    title: "Seed",
    description: "Seed for deterministic generation. Leave 0 for random seed.",
    // A slider over four billion seeds is useless.
    unranged: true,
  },
];

/** Whether the option belongs to the request; otherwise it belongs to the model. */
export const isRequestOption = (option: NodeProperty["option"]): option is RequestOption =>
  option in requestOptions;

const specOf = ({ option }: NodeProperty): OptionSpec =>
  isRequestOption(option) ? requestOptions[option] : loadOptions[option];

/** The values allowed for a property: the option's kind, narrowed to the range of forms. */
export function kindOf(property: NodeProperty): OptionKind {
  const { kind, form } = specOf(property);
  return kind.type === "integer" && form ? { ...kind, ...form } : kind;
}

export const defaultOf = (property: NodeProperty): string | number | boolean | undefined =>
  property.default ?? specOf(property).default;

/** The property's name in NodeTool: "depth_image". */
export const nameOf = ({ option }: NodeProperty): string => toJsonName(option);

/** The property that sets an option; undefined if the node does not offer it. */
export function propertyFor(option: string): string | undefined {
  const property = nodeProperties.find((one) => one.option === option);
  return property && nameOf(property);
}

/** The repository that the node uses by default. */
export const defaultModel = loadOptions.model.default;
