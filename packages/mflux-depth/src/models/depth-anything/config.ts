import { ConfigReader } from "../config.js";
import { type Dinov2Config, dinov2Config } from "../dinov2.js";

export interface DepthAnythingConfig {
  backboneConfig: Dinov2Config;
  /** Blocks of the encoder whose outputs feed the decoder, counted from 1. */
  outIndices: number[];
  /** The factors by which these maps are enlarged: 4, 2, 1, 0.5. */
  reassembleFactors: number[];
  /** Channels of these maps. */
  neckHiddenSizes: number[];
  /** Channels of the decoder. */
  fusionHiddenSize: number;
  /** Channels before the head's last layer. */
  headHiddenSize: number;
  /** Side of the square that becomes one token, in pixels. */
  patchSize: number;
  /** "relative": inverse depth up to scale and shift. "metric": distances in metres. */
  depthEstimationType: "relative" | "metric";
  /** The largest distance of a metric model, in metres; for a relative model, a factor of the result. */
  maxDepth: number;
}

/**
 * Reads a `config.json` of Depth Anything. Missing values get the defaults of transformers.
 * @param source the file, for messages
 * @throws {ModelError} when it describes another model, or its values contradict each other.
 */
export function depthAnythingConfig(json: unknown, source: string): DepthAnythingConfig {
  const config = new ConfigReader(json, "Depth Anything", source);
  config.modelType("depth_anything");
  config.only("head_in_index", -1);
  const { backbone_config: backbone } = json as Record<string, unknown>;
  if (typeof backbone !== "object" || backbone === null)
    config.fail("it has no backbone_config; expected the config of a DINOv2 encoder");
  const encoder = new ConfigReader(backbone, "the encoder of Depth Anything", source);
  encoder.only("apply_layernorm", true);
  const backboneConfig = dinov2Config(backbone, "backbone_config", null, source);
  const result: DepthAnythingConfig = {
    backboneConfig,
    outIndices: encoder.counts("out_indices", []),
    reassembleFactors: config.numbers("reassemble_factors", [4, 2, 1, 0.5], "factors", isFactor),
    neckHiddenSizes: config.counts("neck_hidden_sizes", [48, 96, 192, 384]),
    fusionHiddenSize: config.count("fusion_hidden_size", 64),
    headHiddenSize: config.count("head_hidden_size", 32),
    patchSize: config.count("patch_size", 14),
    depthEstimationType: config.oneOf("depth_estimation_type", ["relative", "metric"], "relative"),
    maxDepth: config.number("max_depth", 1),
  };
  const reassembled = config.count("reassemble_hidden_size", 384);
  checkConsistency(result, reassembled, config);
  return result;
}

/** Enlarging repeats whole pixels; shrinking skips them. */
const isFactor = (n: number): boolean => n > 0 && Number.isInteger(n >= 1 ? n : 1 / n);

/** @throws {ModelError} when values contradict each other. */
function checkConsistency(values: DepthAnythingConfig, reassembled: number, reader: ConfigReader): void {
  const { backboneConfig: encoder, outIndices, reassembleFactors, neckHiddenSizes } = values;
  if (outIndices.length !== reassembleFactors.length || outIndices.length !== neckHiddenSizes.length)
    reader.fail("out_indices, reassemble_factors and neck_hidden_sizes differ in length");
  if (
    outIndices.some((block, i) => block > encoder.numHiddenLayers || (i > 0 && block <= outIndices[i - 1]!))
  )
    reader.fail(
      `out_indices are ${outIndices}; expected rising numbers of at most ${encoder.numHiddenLayers}, the number of blocks`,
    );
  if (reassembled !== encoder.hiddenSize)
    reader.fail(
      `reassemble_hidden_size is ${reassembled}, but the encoder has ${encoder.hiddenSize} channels`,
    );
  if (values.patchSize !== encoder.patchSize)
    reader.fail(`patch_size is ${values.patchSize}, but the encoder has patches of ${encoder.patchSize}`);
  if (values.fusionHiddenSize < 2)
    reader.fail(`fusion_hidden_size is ${values.fusionHiddenSize}; the head needs 2 or more channels`);
  if (!(values.maxDepth > 0)) reader.fail(`"max_depth" is ${values.maxDepth}; it must be positive`);
}
