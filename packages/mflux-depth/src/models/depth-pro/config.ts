import { ConfigReader } from "../config.js";
import { type Dinov2Config, dinov2Config, tokenSide } from "../dinov2.js";

export interface DepthProConfig {
  /** Channels of the decoder. */
  fusionHiddenSize: number;
  /** Side of a patch, in pixels: the patch encoder's image. */
  patchSize: number;
  /** Layers of the patch encoder whose outputs feed the decoder. */
  intermediateHookIds: number[];
  intermediateFeatureDims: number[];
  /** Sizes of the pyramid's levels relative to the image, from coarse to fine. */
  scaledImagesRatios: number[];
  /** The overlap of the patches of each level, relative to their side. */
  scaledImagesOverlapRatios: number[];
  scaledImagesFeatureDims: number[];
  mergePaddingValue: number;
  useBatchNormInFusionResidual: boolean;
  useBiasInFusionResidual: boolean;
  useFovModel: boolean;
  numFovHeadLayers: number;
  imageModelConfig: Dinov2Config;
  patchModelConfig: Dinov2Config;
  fovModelConfig: Dinov2Config;
}

/**
 * Reads a `config.json` of Depth Pro. Missing values get the defaults of transformers.
 * @param source the file, for messages
 * @throws {ModelError} when it describes another model, or its values contradict each other.
 */
export function depthProConfig(json: unknown, source: string): DepthProConfig {
  const config = new ConfigReader(json, "Depth Pro", source);
  config.modelType("depth_pro");
  const values = json as Record<string, unknown>;
  const patchSize = config.count("patch_size", 384);
  const batchNorm = config.flag("use_batch_norm_in_fusion_residual", false);
  // The encoders see whole patches, so like in transformers a different image_size is ignored.
  const encoder = (key: string): Dinov2Config => dinov2Config(values[key] ?? {}, key, patchSize, source);
  const result: DepthProConfig = {
    fusionHiddenSize: config.count("fusion_hidden_size", 256),
    patchSize,
    intermediateHookIds: config.numbers("intermediate_hook_ids", [11, 5], "block numbers", isNatural),
    intermediateFeatureDims: config.counts("intermediate_feature_dims", [256, 256]),
    scaledImagesRatios: config.numbers(
      "scaled_images_ratios",
      [0.25, 0.5, 1],
      "ratios",
      (n) => n > 0 && n <= 1,
    ),
    scaledImagesOverlapRatios: config.numbers(
      "scaled_images_overlap_ratios",
      [0, 0.5, 0.25],
      "shares below 1",
      (n) => n >= 0 && n < 1,
    ),
    scaledImagesFeatureDims: config.counts("scaled_images_feature_dims", [1024, 1024, 512]),
    mergePaddingValue: config.smallNumber("merge_padding_value", 3),
    useBatchNormInFusionResidual: batchNorm,
    // An explicit null means a bias if there is no batch norm.
    useBiasInFusionResidual: config.flag(
      "use_bias_in_fusion_residual",
      values.use_bias_in_fusion_residual !== null || !batchNorm,
    ),
    useFovModel: config.flag("use_fov_model", false),
    numFovHeadLayers: config.smallNumber("num_fov_head_layers", 2),
    imageModelConfig: encoder("image_model_config"),
    patchModelConfig: encoder("patch_model_config"),
    fovModelConfig: encoder("fov_model_config"),
  };

  checkConsistency(result, config);
  return result;
}

/** @throws {ModelError} when values contradict each other. */
function checkConsistency(values: DepthProConfig, reader: ConfigReader): void {
  const { scaledImagesRatios: ratios, intermediateHookIds: hooks } = values;
  if (
    values.scaledImagesOverlapRatios.length !== ratios.length ||
    values.scaledImagesFeatureDims.length !== ratios.length
  )
    reader.fail(
      "scaled_images_ratios, scaled_images_overlap_ratios and scaled_images_feature_dims differ in length",
    );
  if (ratios.some((ratio, i) => i > 0 && ratio < ratios[i - 1]!))
    reader.fail("scaled_images_ratios are not sorted from low to high");
  if (values.intermediateFeatureDims.length !== hooks.length)
    reader.fail("intermediate_hook_ids and intermediate_feature_dims differ in length");
  const blocks = values.patchModelConfig.numHiddenLayers;
  if (hooks.some((id) => id >= blocks))
    reader.fail(`intermediate_hook_ids are ${hooks}, but there are only ${blocks} blocks`);
  if (values.fusionHiddenSize < 2 ** values.numFovHeadLayers)
    reader.fail(
      `fusion_hidden_size ${values.fusionHiddenSize} is too small for ${values.numFovHeadLayers} FOV head layers`,
    );
}

const isNatural = (n: number): boolean => Number.isInteger(n) && n >= 0;

/** The side of the smallest supported image, which is also the default: its coarsest level is one patch. */
export const inputSize = ({ patchSize, scaledImagesRatios }: DepthProConfig): number =>
  Math.round(patchSize / scaledImagesRatios[0]!);

/** Side of an encoder's map of tokens. */
export const encodedSide = ({ imageModelConfig }: DepthProConfig): number => tokenSide(imageModelConfig);
