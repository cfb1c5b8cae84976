/*
 * The node as NodeTool describes nodes, derived from its properties.
 */
import { defaultModelFolders } from "mflux-depth/engine";
import type { NodeMetadata, PropertyMetadata, TypeMetadata } from "./metadata.js";
import { defaultModel, defaultOf, kindOf, type NodeProperty, nameOf, nodeProperties } from "./properties.js";

const plain = (type: string): TypeMetadata => ({ type, type_args: [] });

/** The fields that a model's value and a recommended model share. */
const fluxDepth = { type: "hf.flux_depth", repo_id: defaultModel, path: null };

/**
 * The files of the recommended model that a run needs. The repository also contains the weights as a single file, which
 * is not needed. In NodeTool's patterns, `*` stops at a slash.
 */
const recommendedFiles = ["model_index.json", ...defaultModelFolders.map((folder) => `${folder}/*`)];

/** The type, default and range of a property, derived from the kind of its option. */
function typeAndDefault(property: NodeProperty): Pick<PropertyMetadata, "type" | "default" | "min" | "max"> {
  const kind = kindOf(property);
  const value = defaultOf(property);
  const optional = property.optional ?? false;
  switch (kind.type) {
    case "text":
      return { type: plain("str"), default: value };
    case "image":
      return { type: plain("image"), default: { type: "image", uri: "", asset_id: null, data: null } };
    case "model":
      return {
        type: plain("hf.flux_depth"),
        default: { ...fluxDepth, variant: null, allow_patterns: null, ignore_patterns: null },
      };
    case "choice": {
      const values = kind.values.filter((one) => typeof one === "number");
      // NodeTool's own MLX nodes declare these levels under this name.
      const type_name = "nodetool.nodes.mlx.text_to_image.QuantizationLevel";
      return { type: { type: "enum", optional, values, type_args: [], type_name }, default: value };
    }
    case "integer":
    case "number": {
      const { min, max } = kind;
      const type = kind.type === "integer" ? "int" : "float";
      return {
        type: { type, ...(optional && { optional }), type_args: [] },
        default: value,
        ...(!property.unranged && { min, ...(max !== undefined && { max }) }),
      };
    }
    case "boolean":
      return { type: plain("bool"), default: value };
    case "adapters":
    case "numbers":
    case "tensor":
      throw new TypeError(`NodeTool has no type for the option ${property.option}`);
  }
}

const properties = nodeProperties.map((property): PropertyMetadata => {
  const { title, description } = property;
  return { name: nameOf(property), ...typeAndDefault(property), title, description };
});

const namespace = "mlx.image_to_image";

/** The metadata of the node that the worker serves. */
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
      name: defaultModel,
      ...fluxDepth,
      allow_patterns: recommendedFiles,
      ignore_patterns: null,
      pipeline_tag: "text-to-image",
      has_model_index: true,
      downloaded: false,
    },
  ],
  // Hosts pass only the settings listed here to a run, and the recommended model is gated.
  required_settings: ["HF_TOKEN"],
  body: "content_card",
  basic_fields: properties.map(({ name }) => name),
  inline_fields: ["model", "prompt"],
  input_fields: ["prompt", "image", "depth_image"],
  expose_as_tool: true,
  is_streaming_output: false,
  is_streaming_input: false,
  is_dynamic: false,
};

const packNamespace = "mflux_depth";

/** The metadata of the node in a host's own process: NodeTool reserves the namespace of its MLX nodes. */
export const packDefinition: NodeMetadata = {
  ...definition,
  node_type: `${packNamespace}.MFluxDepth`,
  namespace: packNamespace,
};
