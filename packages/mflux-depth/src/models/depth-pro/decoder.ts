import { concatenate, type MxArray } from "@mflux-depth/mlx";
import { Conv2d, ConvTranspose2d, Module } from "@mflux-depth/mlx/nn";
import { applyOps, type ConvOp } from "../bands.js";
import { PreActResidualLayer } from "../dpt.js";
import type { DepthProConfig } from "./config.js";

/*
 * The decoder brings the encoders' feature maps to a common width (neck) and fuses them from coarse to fine, after
 * Ranftl et al., "Vision Transformers for Dense Prediction", arXiv:2103.13413. Maps are `[1, height, width, channels]`.
 */

/** A transposed convolution that doubles the size; each input pixel becomes four. */
const doubling = (input: number, output: number, bias: boolean): ConvTranspose2d =>
  new ConvTranspose2d(input, output, { kernelSize: 2, stride: 2, bias });

// ---------------------------------------------------------------- neck

/** An optional 1×1 projection, then transposed convolutions that each double the size. */
class FeatureUpsampleBlock extends Module {
  layers: (Conv2d | ConvTranspose2d)[];

  constructor(
    input: number,
    output: number,
    options: { upsamplings: number; projection: number | null; bias?: boolean },
  ) {
    super();
    const { upsamplings, projection, bias = false } = options;
    const first = projection ?? input;
    this.layers = [
      ...(projection === null ? [] : [new Conv2d(input, projection, { kernelSize: 1, bias })]),
      ...Array.from({ length: upsamplings }, (_, i) => doubling(i === 0 ? first : output, output, bias)),
    ];
  }

  get ops(): readonly ConvOp[] {
    return this.layers.map((conv) => ({ conv }));
  }
}

class FeatureUpsample extends Module {
  imageBlock: FeatureUpsampleBlock;
  scaledImages: FeatureUpsampleBlock[];
  intermediate: FeatureUpsampleBlock[];

  constructor(config: DepthProConfig) {
    super();
    const { scaledImagesFeatureDims: scaled, intermediateFeatureDims: hooked } = config;
    const hidden = config.patchModelConfig.hiddenSize;
    this.imageBlock = new FeatureUpsampleBlock(config.imageModelConfig.hiddenSize, scaled[0]!, {
      upsamplings: 1,
      projection: null,
      bias: true,
    });
    this.scaledImages = scaled.map(
      (dims) => new FeatureUpsampleBlock(hidden, dims, { upsamplings: 1, projection: dims }),
    );
    this.intermediate = hooked.map(
      (dims, i) =>
        new FeatureUpsampleBlock(hidden, dims, {
          upsamplings: 2 + i,
          projection: i === 0 ? config.fusionHiddenSize : dims,
        }),
    );
  }
}

class FeatureProjection extends Module {
  /** 3×3 to the decoder's width. The last level has none if it already has that width. */
  projections: (Conv2d | null)[];

  constructor(config: DepthProConfig) {
    super();
    const { fusionHiddenSize: width } = config;
    const dims = [...config.scaledImagesFeatureDims, ...config.intermediateFeatureDims];
    this.projections = dims.map((channels, i) =>
      i === dims.length - 1 && channels === width
        ? null
        : new Conv2d(channels, width, { kernelSize: 3, padding: 1, bias: false }),
    );
  }
}

/** Brings feature maps to the decoder's width, and each to the size of its level. */
export class Neck extends Module {
  featureUpsample: FeatureUpsample;
  fuseImageWithLowRes: Conv2d;
  featureProjection: FeatureProjection;

  constructor(config: DepthProConfig) {
    super();
    const coarse = config.scaledImagesFeatureDims[0]!;
    this.featureUpsample = new FeatureUpsample(config);
    this.fuseImageWithLowRes = new Conv2d(2 * coarse, coarse, { kernelSize: 1 });
    this.featureProjection = new FeatureProjection(config);
  }

  /** Joins the whole image's features and the coarsest level, `[1, base, base, hidden]` → `[1, 2·base, 2·base, fusion]`. */
  global(image: MxArray, coarse: MxArray): MxArray {
    const { imageBlock, scaledImages } = this.featureUpsample;
    const both = concatenate([applyOps(scaledImages[0]!.ops, coarse), applyOps(imageBlock.ops, image)], -1);
    return applyOps([{ conv: this.fuseImageWithLowRes }, ...this.#projection(0)], both);
  }

  /** The convolutions for the features of a finer level than {@link global}'s, which is level 0. */
  ops(level: number): readonly ConvOp[] {
    const { scaledImages, intermediate } = this.featureUpsample;
    return [...[...scaledImages, ...intermediate][level]!.ops, ...this.#projection(level)];
  }

  #projection(level: number): ConvOp[] {
    const projection = this.featureProjection.projections[level];
    return projection ? [{ conv: projection }] : [];
  }
}

// ---------------------------------------------------------------- fusion

/** The residual layers of a fusion layer. */
function residualLayer(config: DepthProConfig): PreActResidualLayer {
  const { fusionHiddenSize, useBiasInFusionResidual: bias, useBatchNormInFusionResidual: batchNorm } = config;
  return new PreActResidualLayer(fusionHiddenSize, { bias, batchNorm });
}

/** Adds a finer level to the coarser ones, and doubles the size (except in the last layer). */
class FeatureFusionLayer extends Module {
  /** Null in the first layer, which adds nothing, although files contain weights for it. */
  residualLayer1: PreActResidualLayer | null;
  residualLayer2: PreActResidualLayer;
  deconv: ConvTranspose2d | null;
  projection: Conv2d;

  constructor(config: DepthProConfig, options: { first?: boolean; last?: boolean }) {
    super();
    const width = config.fusionHiddenSize;
    this.residualLayer1 = options.first ? null : residualLayer(config);
    this.residualLayer2 = residualLayer(config);
    this.deconv = options.last ? null : doubling(width, width, false);
    this.projection = new Conv2d(width, width, { kernelSize: 1 });
  }

  /** The convolutions from a finer level's features to their sum with the `coarser` levels. */
  joiningOps(coarser: MxArray): ConvOp[] {
    return this.residualLayer1!.ops(coarser);
  }

  /** The convolutions from that sum to the layer's result, twice as large, or the same size in the last layer. */
  refiningOps(): ConvOp[] {
    const { residualLayer2, deconv, projection } = this;
    return [...residualLayer2.ops(), ...(deconv ? [{ conv: deconv }] : []), { conv: projection }];
  }
}

/** Fuses the levels from coarse to fine. */
export class FeatureFusionStage extends Module {
  intermediate: FeatureFusionLayer[];
  final: FeatureFusionLayer;

  constructor(config: DepthProConfig) {
    super();
    const levels = config.intermediateHookIds.length + config.scaledImagesRatios.length;
    this.intermediate = Array.from(
      { length: levels - 1 },
      (_, i) => new FeatureFusionLayer(config, { first: i === 0 }),
    );
    this.final = new FeatureFusionLayer(config, { last: true });
  }

  /** The layers from coarse to fine. */
  get layers(): readonly FeatureFusionLayer[] {
    return [...this.intermediate, this.final];
  }
}
