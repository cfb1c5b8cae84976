import { concatenate, type MxArray, scope, slice } from "@mflux-depth/mlx";
import { Module, type Stages } from "@mflux-depth/mlx/nn";
import { Dinov2, type EncodeOptions } from "../dinov2.js";
import { bilinear } from "../interpolate.js";
import { disposeAll, evaluated } from "../stages.js";
import { type DepthProConfig, encodedSide } from "./config.js";
import { featureMap, patchesAlong, splitPatches } from "./patches.js";

/** Feature maps `[1, size, size, hidden]`. */
interface PyramidFeatures {
  /** Of the whole image. */
  readonly image: MxArray;
  /** Of the pyramid's levels from coarse to fine, then those of the hooked layers at the finest level. */
  readonly levels: readonly MxArray[];
}

/**
 * Side of the coarsest feature maps for an image of `side` pixels: the image's side, halved as long as an encoder's map
 * of tokens fits.
 */
function baseSize(config: DepthProConfig, side: number): number {
  let base = side;
  while (Math.floor(base / 2) >= encodedSide(config)) base = Math.floor(base / 2);
  return base;
}

/** How many images and patches {@link Encoder} encodes for an image of `side` pixels. */
export function encodedImages(config: DepthProConfig, side: number): number {
  const { patchSize, scaledImagesRatios, scaledImagesOverlapRatios } = config;
  const patches = scaledImagesRatios.map(
    (ratio, i) => patchesAlong(Math.floor(side * ratio), patchSize, scaledImagesOverlapRatios[i]!) ** 2,
  );
  return patches.reduce((sum, count) => sum + count, 1);
}

class EncoderModel extends Module {
  constructor(readonly model: Dinov2) {
    super();
  }
}

/** Encodes the whole image, and a pyramid of its sizes in overlapping patches. */
export class Encoder extends Module {
  patchEncoder: EncoderModel;
  imageEncoder: EncoderModel;
  #config: DepthProConfig;

  constructor(config: DepthProConfig) {
    super();
    this.patchEncoder = new EncoderModel(new Dinov2(config.patchModelConfig));
    this.imageEncoder = new EncoderModel(new Dinov2(config.imageModelConfig));
    this.#config = config;
  }

  /** @param pixels `[1, side, side, 3]`; must outlive the computation */
  *stages(pixels: MxArray, options: EncodeOptions): Stages<PyramidFeatures> {
    const { imageModelConfig, intermediateHookIds: hooks } = this.#config;
    const tokens: MxArray[] = [];
    try {
      using image = scope(() => bilinear(pixels, { size: imageModelConfig.imageSize }));
      tokens.push(...(yield* this.imageEncoder.model.stages(image, options)));
      const { patches, counts } = this.#pyramid(pixels);
      using allPatches = patches;
      tokens.push(...(yield* this.patchEncoder.model.stages(allPatches, { ...options, hooks })));
      const [ofImage, ofPatches, ...ofHooks] = tokens as [MxArray, MxArray, ...MxArray[]];
      const base = baseSize(this.#config, pixels.shape[1]!);
      return yield* evaluated(
        scope(() => ({
          image: featureMap(ofImage, 0, base),
          levels: this.#levels(ofPatches, ofHooks, counts, base),
        })),
      );
    } finally {
      disposeAll(tokens);
    }
  }

  /** The patches of all levels `[count, patch, patch, 3]`, and the count of each level from coarse to fine. */
  #pyramid(pixels: MxArray): { patches: MxArray; counts: number[] } {
    const { patchSize, scaledImagesRatios, scaledImagesOverlapRatios } = this.#config;
    return scope(() => {
      const levels = scaledImagesRatios.map((ratio, i) =>
        splitPatches(bilinear(pixels, { ratio }), patchSize, scaledImagesOverlapRatios[i]!),
      );
      const counts = levels.map((level) => level.shape[0]!);
      // Fine patches come first, because the hooks need only these.
      return { patches: concatenate(levels.reverse()), counts };
    });
  }

  /** Joins the tokens of each level's patches; the hooked layers are used at the finest level. */
  #levels(tokens: MxArray, hooked: readonly MxArray[], counts: readonly number[], base: number): MxArray[] {
    const { scaledImagesRatios: ratios, mergePaddingValue } = this.#config;
    const finest = ratios.length - 1;
    const map = (all: MxArray, level: number): MxArray => {
      const start = counts.slice(level + 1).reduce((sum, count) => sum + count, 0);
      const padding = Math.floor(mergePaddingValue * (1 / ratios[level]!));
      return featureMap(slice(all, [[start, start + counts[level]!]]), padding, base * 2 ** level);
    };
    return [...ratios.map((_, level) => map(tokens, level)), ...hooked.map((state) => map(state, finest))];
  }
}
