import { type MxArray, scope, squeeze } from "@mflux-depth/mlx";
import { Module, runStages, type Stages } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../errors.js";
import { Dinov2 } from "../dinov2.js";
import { consuming, disposeAll, evaluated, shareOf } from "../stages.js";
import type { DepthAnythingConfig } from "./config.js";
import { DepthEstimationHead, type GridSize, Neck } from "./decoder.js";

/*
 * Depth Anything V2: DINOv2 with a DPT decoder (Yang et al., "Depth Anything V2", arXiv:2406.09414; transformers:
 * models/depth_anything/modeling_depth_anything.py). Properties are named after the latter.
 * Images and feature maps are `[batch, height, width, channels]`.
 */

export { type DepthAnythingConfig, depthAnythingConfig } from "./config.js";
export { depthAnythingKey } from "./keys.js";

/** The decoder's work, relative to the encoder's: measured at the sizes of the Small model. */
const decoderWork = 1 / 3;

interface DepthAnythingStageOptions {
  /** Receives the fraction done, 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

interface DepthAnythingOptions extends DepthAnythingStageOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Depth Anything V2: inverse depth up to scale and shift, or metres, of photos of any proportions. */
export class DepthAnything extends Module {
  backbone: Dinov2;
  neck: Neck;
  head: DepthEstimationHead;
  readonly config: DepthAnythingConfig;

  constructor(config: DepthAnythingConfig) {
    super();
    this.config = config;
    this.backbone = new Dinov2(config.backboneConfig);
    this.neck = new Neck(config);
    this.head = new DepthEstimationHead(config);
  }

  /**
   * Estimates depth off the event loop.
   * @param pixels `[1, height, width, 3]` normalized; height and width are multiples of the patch size
   * @returns `[1, height, width]` float32, which the caller disposes: inverse depth up to scale and shift, zero or
   * more; or metres, if the model is metric
   * @throws {ModelError} when the size is not a multiple of the patch size.
   * @throws the signal's reason within milliseconds after it is aborted.
   */
  async forward(pixels: MxArray, { signal, ...options }: DepthAnythingOptions = {}): Promise<MxArray> {
    const depth = await runStages(this.stages(pixels, options), { signal });
    options.onProgress?.(1);
    return depth;
  }

  /**
   * Estimates depth piece by piece.
   * @param pixels as for {@link forward}; must outlive the computation
   * @throws {ModelError} as {@link forward}
   */
  *stages(pixels: MxArray, { onProgress }: DepthAnythingStageOptions = {}): Stages {
    const grid = this.#gridOf(pixels);
    const advance = shareOf(1 + decoderWork, onProgress);
    const maps = yield* this.#encode(pixels, grid, advance);
    let fused: MxArray | null = null;
    try {
      for (let level = maps.length - 1; level >= 0; level--) {
        const coarser: MxArray[] = fused ? [fused] : [];
        fused = yield* consuming(coarser, (...[sum]) => this.neck.fuse(maps, level, sum ?? null));
        advance(decoderWork / (maps.length + 2));
      }
    } finally {
      disposeAll(maps);
    }
    const size = grid.map((n) => n * this.config.patchSize) as [number, number];
    const enlarged = yield* consuming([fused!], (x) => this.head.enlarge(x, size));
    advance(decoderWork / (maps.length + 2));
    return yield* consuming([enlarged], (x) => squeeze(this.head.toDepth(x), 3));
  }

  /** The encoder's feature maps at the decoder's width, from fine to coarse. */
  *#encode(pixels: MxArray, grid: GridSize, onProgress: (work: number) => void): Stages<MxArray[]> {
    const hooks = this.config.outIndices.map((block) => block - 1);
    // One image at a time, so the working set does not matter.
    const [normed, ...taps] = yield* this.backbone.stages(pixels, { hooks, workingSet: 0, onProgress });
    normed!.dispose();
    try {
      return yield* evaluated(
        scope(() =>
          taps.map((tap, level) => this.neck.reassemble(this.backbone.layernorm.forward(tap), level, grid)),
        ),
      );
    } finally {
      disposeAll(taps);
    }
  }

  /** @throws {ModelError} if an image does not consist of whole patches. */
  #gridOf({ ndim, shape }: MxArray): GridSize {
    const [batch, height, width, channels] = shape as [number, number, number, number];
    const { patchSize } = this.config;
    if (ndim !== 4 || batch !== 1 || channels !== 3 || height % patchSize !== 0 || width % patchSize !== 0)
      throw new ModelError(
        "Depth Anything",
        `an image of shape [${shape}] was given; expected [1, height, width, 3] with multiples of ${patchSize}`,
      );
    return [height / patchSize, width / patchSize];
  }
}

/**
 * Roughly the bytes that {@link DepthAnything.forward} takes in addition to the weights for an image of a size: the tokens
 * of a layer and of the taps, or the largest feature maps.
 */
export function depthAnythingBytes(config: DepthAnythingConfig, height: number, width: number): number {
  const { backboneConfig: encoder, patchSize, neckHiddenSizes, fusionHiddenSize, headHiddenSize } = config;
  const grid = (height * width) / patchSize ** 2;
  const taps = config.outIndices.length * grid * encoder.hiddenSize;
  const layer = grid * (8 + 2 * encoder.mlpRatio) * encoder.hiddenSize;
  // The finest map has 4 × 4 pixels for each token, and the decoder's result 8 × 8.
  const fusing = 16 * grid * (neckHiddenSizes[0]! + 6 * fusionHiddenSize) + 64 * grid * fusionHiddenSize;
  const head = height * width * (fusionHiddenSize + 2 * headHiddenSize + 2);
  return 4 * Math.max(taps + layer, fusing, head) + 30e6;
}
