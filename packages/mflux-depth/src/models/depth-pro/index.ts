import { type MxArray, scope, squeeze } from "@mflux-depth/mlx";
import { Module, runStages, type Stages } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../errors.js";
import { bandsWithin, type ConvOp, inBands, sizeOf } from "../bands.js";
import type { EncodeOptions } from "../dinov2.js";
import { disposeAll, evaluated, shareOf } from "../stages.js";
import { type DepthProConfig, inputSize } from "./config.js";
import { FeatureFusionStage, Neck } from "./decoder.js";
import { Encoder, encodedImages } from "./encoder.js";
import { DepthEstimationHead, FovModel } from "./heads.js";

/*
 * Depth Pro (Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second", arXiv:2410.02073;
 * transformers: models/depth_pro/modeling_depth_pro.py). Properties are named after the latter.
 * Images and feature maps are `[batch, height, width, channels]`.
 */

export { type DepthProConfig, depthProConfig, inputSize } from "./config.js";
export { depthProKey } from "./keys.js";

/** The decoder's work, relative to the encoders': measured at the real sizes. */
const decoderWork = 1 / 4;

class DepthProModel extends Module {
  encoder: Encoder;
  neck: Neck;

  constructor(config: DepthProConfig) {
    super();
    this.encoder = new Encoder(config);
    this.neck = new Neck(config);
  }
}

interface DepthProStageOptions {
  /**
   * Approximate limit for intermediate results in addition to weights and feature maps, in bytes (default 1 GiB). Decides
   * how many patches are encoded at a time and how high the decoder's bands are. The result does not depend on it.
   */
  readonly workingSet?: number;
  /** Receives the fraction done, 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

interface DepthProOptions extends DepthProStageOptions {
  readonly signal?: AbortSignal | undefined;
}

interface DepthProOutput {
  /** Canonical inverse depth `[1, height, width]` float32: 1 / metres for an image as wide as its focal length. */
  depth: MxArray;
  /** Horizontal field of view in degrees; null without the head for it. */
  fov: number | null;
}

/** Depth Pro: canonical inverse depth of square photos, and on request their field of view. */
export class DepthPro extends Module {
  depthPro: DepthProModel;
  fusionStage: FeatureFusionStage;
  head: DepthEstimationHead;
  /** A third of the weights, which depth does not need. */
  fovModel: FovModel | null;
  readonly config: DepthProConfig;

  constructor(config: DepthProConfig) {
    super();
    this.config = config;
    this.depthPro = new DepthProModel(config);
    this.fusionStage = new FeatureFusionStage(config);
    this.head = new DepthEstimationHead(config);
    this.fovModel = config.useFovModel ? new FovModel(config) : null;
  }

  /**
   * Estimates depth off the event loop.
   * @param pixels `[1, side, side, 3]` in −1 to 1; the real model takes 1536 pixels, whatever the photo's aspect ratio
   * @returns `depth`, which the caller disposes, and `fov`
   * @throws {ModelError} when the image is not square, or too small for the pyramid.
   * @throws the signal's reason within milliseconds after it is aborted.
   */
  async forward(pixels: MxArray, { signal, ...options }: DepthProOptions = {}): Promise<DepthProOutput> {
    const output = await runStages(this.stages(pixels, options), { signal });
    options.onProgress?.(1);
    return output;
  }

  /**
   * Estimates depth piece by piece: patches in batches, one layer at a time, and the decoder in bands of rows.
   * @param pixels as for {@link forward}; must outlive the computation
   * @throws {ModelError} as {@link forward}
   */
  *stages(
    pixels: MxArray,
    { workingSet = 2 ** 30, onProgress }: DepthProStageOptions = {},
  ): Stages<DepthProOutput> {
    checkInput(pixels, this.config);
    const { encoder, neck } = this.depthPro;
    const images = encodedImages(this.config, pixels.shape[1]!) + (this.fovModel ? 1 : 0);
    const advance = shareOf(images * (1 + decoderWork), onProgress);
    const encoding: EncodeOptions = { workingSet, onProgress: advance };

    const { image, levels } = yield* encoder.stages(pixels, encoding);
    try {
      using global = yield* evaluated(scope(() => neck.global(image, levels[0]!)));
      using degrees = this.fovModel ? yield* this.fovModel.stages(pixels, global, encoding) : null;
      const fov = degrees && Number(degrees.item());
      const depth = yield* this.#decode(global, levels.slice(1), workingSet, (share) =>
        advance(share * images * decoderWork),
      );
      return { depth, fov };
    } finally {
      disposeAll([image, ...levels]);
    }
  }

  /** Fuses the levels from coarse to fine; the finest ends in the depth head. */
  *#decode(
    global: MxArray,
    finer: readonly MxArray[],
    workingSet: number,
    onProgress: (share: number) => void,
  ): Stages {
    const [coarsest, ...layers] = this.fusionStage.layers;
    let x = yield* withinMemory([coarsest!.refiningOps()], global, workingSet);
    for (const [i, layer] of layers.entries()) {
      const last = i === layers.length - 1;
      using coarser = x;
      const groups = [
        this.depthPro.neck.ops(i + 1),
        layer.joiningOps(coarser),
        layer.refiningOps(),
        ...(last ? [this.head.ops] : []),
      ];
      x = yield* withinMemory(groups, finer[i]!, workingSet);
      onProgress(levelShare(i, layers.length));
    }
    using depth = x;
    return scope(() => squeeze(depth, 3));
  }
}

/** Runs groups of convolutions in as few bands as the working set allows. */
const withinMemory = (groups: readonly (readonly ConvOp[])[], x: MxArray, workingSet: number): Stages =>
  inBands(groups, x, bandsWithin(workingSet, groups, sizeOf(x)));

/** A level's share of the decoder's work: each has four times the pixels of the one before. */
const levelShare = (level: number, levels: number): number => (3 * 4 ** level) / (4 ** levels - 1);

function checkInput({ ndim, shape }: MxArray, config: DepthProConfig): void {
  const [batch, side, width, channels] = shape as [number, number, number, number];
  if (ndim !== 4 || batch !== 1 || side !== width || channels !== 3)
    throw new ModelError("Depth Pro", `an image of shape [${shape}] was given; expected [1, side, side, 3]`);
  if (Math.floor(side * config.scaledImagesRatios[0]!) < config.patchSize)
    throw new ModelError(
      "Depth Pro",
      `a side of ${side} pixels is too small: with patches of ${config.patchSize} the model takes ${inputSize(config)} or more`,
    );
}

/** Roughly the bytes that {@link DepthPro.forward} takes in addition to the weights: the largest feature maps, and bands. */
export function depthProBytes(config: DepthProConfig): number {
  const side = inputSize(config) / 2;
  return 4 * side ** 2 * (4 * config.fusionHiddenSize) + 70e6;
}
