import { add, type MxArray, multiply, reshape, sigmoid, slice } from "@mflux-depth/mlx";
import { Conv2d, ConvTranspose2d, Module, relu } from "@mflux-depth/mlx/nn";
import { applyOps, type ConvOp } from "../bands.js";
import { PreActResidualLayer } from "../dpt.js";
import { bilinearAligned } from "../interpolate.js";
import type { DepthAnythingConfig } from "./config.js";

/*
 * The decoder turns the encoder's tokens into feature maps of four sizes (reassemble), brings them to one width, and fuses
 * them from coarse to fine. Maps are `[1, height, width, channels]`.
 */

/** Rows and columns of a map. */
export type GridSize = readonly [rows: number, columns: number];

const sizeOf = ({ shape }: MxArray): GridSize => [shape[1]!, shape[2]!];

// ---------------------------------------------------------------- neck

/** A 1×1 projection, and a convolution that changes the size. */
class ReassembleLayer extends Module {
  projection: Conv2d;
  resize: Conv2d | ConvTranspose2d | null;

  constructor(hidden: number, channels: number, factor: number) {
    super();
    this.projection = new Conv2d(hidden, channels, { kernelSize: 1 });
    this.resize = resizing(channels, factor);
  }

  get ops(): ConvOp[] {
    return [{ conv: this.projection }, ...(this.resize ? [{ conv: this.resize }] : [])];
  }
}

function resizing(channels: number, factor: number): ReassembleLayer["resize"] {
  if (factor === 1) return null;
  return factor > 1
    ? new ConvTranspose2d(channels, channels, { kernelSize: factor, stride: factor })
    : new Conv2d(channels, channels, { kernelSize: 3, stride: Math.round(1 / factor), padding: 1 });
}

class ReassembleStage extends Module {
  layers: ReassembleLayer[];

  constructor({ backboneConfig, neckHiddenSizes, reassembleFactors }: DepthAnythingConfig) {
    super();
    this.layers = neckHiddenSizes.map(
      (channels, i) => new ReassembleLayer(backboneConfig.hiddenSize, channels, reassembleFactors[i]!),
    );
  }
}

/** Adds a finer map to the coarser ones, and enlarges their sum. */
class FeatureFusionLayer extends Module {
  projection: Conv2d;
  /** Null in the first layer, which adds nothing, although files contain weights for it. */
  residualLayer1: PreActResidualLayer | null;
  residualLayer2: PreActResidualLayer;

  constructor(width: number, { first }: { first: boolean }) {
    super();
    this.projection = new Conv2d(width, width, { kernelSize: 1 });
    this.residualLayer1 = first ? null : new PreActResidualLayer(width);
    this.residualLayer2 = new PreActResidualLayer(width);
  }

  /**
   * @param coarser the coarser maps' sum, of the same size; null in the first layer
   * @param size of the result
   */
  forward(finer: MxArray, coarser: MxArray | null, size: GridSize): MxArray {
    const joined = coarser ? add(coarser, applyOps(this.residualLayer1!.ops(), finer)) : finer;
    const refined = applyOps(this.residualLayer2.ops(), joined);
    return this.projection.forward(bilinearAligned(refined, size));
  }
}

class FeatureFusionStage extends Module {
  layers: FeatureFusionLayer[];

  constructor({ fusionHiddenSize, neckHiddenSizes }: DepthAnythingConfig) {
    super();
    this.layers = neckHiddenSizes.map((_, i) => new FeatureFusionLayer(fusionHiddenSize, { first: i === 0 }));
  }
}

/** DPT's neck: the backbone's tokens to feature maps of four sizes, fused from the coarsest to the finest. */
export class Neck extends Module {
  reassembleStage: ReassembleStage;
  /** 3×3 to the decoder's width. */
  convs: Conv2d[];
  fusionStage: FeatureFusionStage;

  constructor(config: DepthAnythingConfig) {
    super();
    this.reassembleStage = new ReassembleStage(config);
    this.convs = config.neckHiddenSizes.map(
      (channels) => new Conv2d(channels, config.fusionHiddenSize, { kernelSize: 3, padding: 1, bias: false }),
    );
    this.fusionStage = new FeatureFusionStage(config);
  }

  /**
   * Makes a feature map of the decoder's width.
   * @param tokens of the encoder, `[1, 1 + rows · columns, hidden]`
   * @param level 0 for the finest map, increasing to the coarsest
   */
  reassemble(tokens: MxArray, level: number, [rows, columns]: GridSize): MxArray {
    const hidden = tokens.shape[2]!;
    const map = reshape(slice(tokens, [null, [1, null]]), [1, rows, columns, hidden]);
    return applyOps([...this.reassembleStage.layers[level]!.ops, { conv: this.convs[level]! }], map);
  }

  /**
   * Adds a map to the coarser ones.
   * @param maps of all levels, from fine to coarse
   * @param coarser the result for the next coarser level; null for the coarsest
   * @returns the sum at the size of the next finer map, or for the finest map at twice its size
   */
  fuse(maps: readonly MxArray[], level: number, coarser: MxArray | null): MxArray {
    const [own, finer] = [maps[level]!, maps[level - 1]];
    const [rows, columns] = sizeOf(own);
    const size: GridSize = finer ? sizeOf(finer) : [2 * rows, 2 * columns];
    return this.fusionStage.layers[maps.length - 1 - level]!.forward(own, coarser, size);
  }
}

// ---------------------------------------------------------------- head

/** The fused feature map to one value for each pixel. */
export class DepthEstimationHead extends Module {
  conv1: Conv2d;
  conv2: Conv2d;
  conv3: Conv2d;
  #config: DepthAnythingConfig;

  constructor(config: DepthAnythingConfig) {
    super();
    const { fusionHiddenSize: width, headHiddenSize: inner } = config;
    const half = Math.floor(width / 2);
    this.conv1 = new Conv2d(width, half, { kernelSize: 3, padding: 1 });
    this.conv2 = new Conv2d(half, inner, { kernelSize: 3, padding: 1 });
    this.conv3 = new Conv2d(inner, 1, { kernelSize: 1 });
    this.#config = config;
  }

  /** `[1, height, width, fusion]` → `[1, rows, columns, fusion / 2]` */
  enlarge(x: MxArray, size: GridSize): MxArray {
    return bilinearAligned(this.conv1.forward(x), size);
  }

  /** `[1, rows, columns, fusion / 2]` → inverse depth or metres, `[1, rows, columns, 1]` */
  toDepth(x: MxArray): MxArray {
    const { depthEstimationType: type, maxDepth } = this.#config;
    const raw = this.conv3.forward(relu(this.conv2.forward(x)));
    return multiply(type === "metric" ? sigmoid(raw) : relu(raw), maxDepth);
  }
}
