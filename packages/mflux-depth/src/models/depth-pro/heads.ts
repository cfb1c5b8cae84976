import { add, type MxArray, scope } from "@mflux-depth/mlx";
import { Conv2d, ConvTranspose2d, Linear, Module, relu, type Stages } from "@mflux-depth/mlx/nn";
import type { ConvOp } from "../bands.js";
import { Dinov2, type EncodeOptions } from "../dinov2.js";
import { bilinear } from "../interpolate.js";
import { consuming } from "../stages.js";
import { type DepthProConfig, encodedSide } from "./config.js";
import { featureMap } from "./patches.js";

// ---------------------------------------------------------------- depth

/** Channels before the depth head's last layer; fixed by the architecture. */
const headWidth = 32;

/** The fused feature map `[1, h, w, channels]` to canonical inverse depth at twice its size. */
export class DepthEstimationHead extends Module {
  layers: [Conv2d, ConvTranspose2d, Conv2d, null, Conv2d];

  constructor(config: DepthProConfig) {
    super();
    const width = config.fusionHiddenSize;
    const half = Math.floor(width / 2);
    this.layers = [
      new Conv2d(width, half, { kernelSize: 3, padding: 1 }),
      new ConvTranspose2d(half, half, { kernelSize: 2, stride: 2 }),
      new Conv2d(half, headWidth, { kernelSize: 3, padding: 1 }),
      null,
      new Conv2d(headWidth, 1, { kernelSize: 1 }),
    ];
  }

  /** The convolutions from `[1, height, width, fusion]` to inverse depth `[1, 2·height, 2·width, 1]`, zero or more. */
  get ops(): readonly ConvOp[] {
    const [narrow, enlarge, smooth, , toDepth] = this.layers;
    return [
      { conv: narrow },
      { conv: enlarge },
      { conv: smooth, after: relu },
      { conv: toDepth, after: relu },
    ];
  }
}

// ---------------------------------------------------------------- field of view

class FovEncoder extends Module {
  model: Dinov2;
  neck: Linear;

  constructor(config: DepthProConfig) {
    super();
    this.model = new Dinov2(config.fovModelConfig);
    this.neck = new Linear(config.fovModelConfig.hiddenSize, Math.floor(config.fusionHiddenSize / 2));
  }
}

class FovHead extends Module {
  /** Convolutions that halve the size, each followed by a ReLU (null), and one that covers everything that is left. */
  layers: (Conv2d | null)[];

  constructor(config: DepthProConfig) {
    super();
    const { fusionHiddenSize: width, numFovHeadLayers: count } = config;
    const channels = (i: number): number => Math.ceil(width / 2 ** (i + 1));
    const kernelSize = Math.floor((encodedSide(config) - 1) / 2 ** count + 1);
    this.layers = [
      ...Array.from({ length: count }, (_, i) => [
        new Conv2d(channels(i), channels(i + 1), { kernelSize: 3, stride: 2, padding: 1 }),
        null,
      ]).flat(),
      new Conv2d(channels(count), 1, { kernelSize }),
    ];
  }

  /** `[1, side, side, fusion / 2]` → degrees `[1, 1, 1, 1]` */
  forward(x: MxArray): MxArray {
    return this.layers.reduce((y, layer) => (layer ? layer.forward(y) : relu(y)), x);
  }
}

/** Estimates the horizontal field of view from a separate encoder and the decoder's coarsest features. */
export class FovModel extends Module {
  fovEncoder: FovEncoder;
  conv: Conv2d;
  head: FovHead;
  #config: DepthProConfig;

  constructor(config: DepthProConfig) {
    super();
    const width = config.fusionHiddenSize;
    this.fovEncoder = new FovEncoder(config);
    this.conv = new Conv2d(width, Math.floor(width / 2), { kernelSize: 3, stride: 2, padding: 1 });
    this.head = new FovHead(config);
    this.#config = config;
  }

  /**
   * @param pixels `[1, side, side, 3]`
   * @param global the coarsest features `[1, 2·base, 2·base, fusion]`; both must outlive the computation
   * @returns degrees `[1, 1, 1, 1]`
   */
  *stages(pixels: MxArray, global: MxArray, options: EncodeOptions): Stages {
    const { imageSize } = this.#config.fovModelConfig;
    using image = scope(() => bilinear(pixels, { size: imageSize }));
    const [tokens] = yield* this.fovEncoder.model.stages(image, options);
    return yield* consuming([tokens!], (encoded) => this.forward(encoded, global));
  }

  /**
   * @param tokens of the encoder, `[1, tokens, hidden]`
   * @param global the coarsest features `[1, 2·base, 2·base, fusion]`
   * @returns degrees `[1, 1, 1, 1]`
   */
  forward(tokens: MxArray, global: MxArray): MxArray {
    const coarse = relu(this.conv.forward(global));
    const own = featureMap(this.fovEncoder.neck.forward(tokens), 0, coarse.shape[1]!);
    return this.head.forward(bilinear(add(own, coarse), { size: encodedSide(this.#config) }));
  }
}
