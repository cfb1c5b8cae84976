import { astype, dequantize, type MxArray } from "@mflux-depth/mlx";
import { type Linear, propertyPath } from "@mflux-depth/mlx/nn";
import type { NamedTensor } from "../component.js";

/** The weights of layers as they were stored. Those that are quantized while loading come from the checkpoint again. */
export class BaseWeights implements Disposable {
  readonly #stored = new Map<Linear, MxArray>();

  /**
   * @param layers those whose weights are needed, with their paths.
   * @param stored the tensors of the checkpoint under the module's names, unread.
   * @param options.unread whether the layers have no weights of their own yet.
   */
  constructor(
    layers: Iterable<readonly [path: string, layer: Linear]>,
    stored: () => Iterable<NamedTensor>,
    { unread = false } = {},
  ) {
    const needed = new Map<string, Linear>();
    for (const [path, layer] of layers) if (layer.quantization || unread) needed.set(`${path}.weight`, layer);
    if (needed.size === 0) return;
    for (const [key, tensor] of stored()) {
      const layer = needed.get(propertyPath(key));
      if (layer && tensor.dtype !== "uint32") this.#stored.set(layer, tensor);
      else tensor.dispose();
    }
  }

  /** The weight of a layer in float32, lazily. */
  of(layer: Linear): () => MxArray {
    return () => {
      const stored = this.#stored.get(layer);
      if (stored) return astype(stored, "float32");
      const { weight, scales, biases, quantization } = layer;
      if (!quantization || !scales || !biases) return astype(weight, "float32");
      return astype(dequantize({ weight, scales, biases }, quantization), "float32");
    };
  }

  /** Frees the weight of a layer. */
  release(layer: Linear): void {
    this.#stored.get(layer)?.dispose();
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#stored.values()) tensor.dispose();
  }
}
