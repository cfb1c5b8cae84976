import { add, evaluate, type MxArray, multiply, scope } from "@mflux-depth/mlx";
import { Linear, type Module } from "@mflux-depth/mlx/nn";
import type { NamedTensor } from "../component.js";
import { BaseWeights } from "./base-weights.js";
import type { MatchedLayer } from "./match.js";

/**
 * Merges the adapters of a module into its weights at their strengths, one layer after another, and frees them. A weight that
 * was quantized while loading is read again, so that it is quantized only once, with the change.
 * @param stored the tensors of the checkpoint under the module's names, unread.
 * @throws the signal's reason.
 */
export async function bakeAdapters(
  module: Module,
  stored: () => Iterable<NamedTensor>,
  signal: AbortSignal,
): Promise<void> {
  const layers = [...module.modules()].filter(
    (entry): entry is [string, Linear] => entry[1] instanceof Linear && entry[1].adapters.length > 0,
  );
  using weights = new BaseWeights(layers, stored);
  for (const [, layer] of layers) {
    const made = scope(() => {
      const weight = weights.of(layer)();
      const merged = layer.adapters.reduce((sum, adapter) => add(sum, adapter.change(weight)), weight);
      const bias = layer.adapters.reduce(
        (sum, adapter) => (adapter.bias ? plus(sum, multiply(adapter.bias, adapter.scale)) : sum),
        layer.bias,
      );
      if (bias && bias !== layer.bias) layer.replace("bias", bias);
      return [...layer.replaceMatrix(merged), bias];
    });
    await evaluate(made, { signal });
    weights.release(layer);
    for (const adapter of layer.adapters) {
      layer.detach(adapter);
      adapter.dispose();
    }
  }
}

/**
 * The most bytes that {@link bakeAdapters} computes with: the largest weight, the change and their sum in float32, and the
 * quantized result.
 */
export const bakingBytes = (layers: readonly MatchedLayer[]): number =>
  Math.max(
    0,
    ...layers.flatMap(({ target: { parts, columns } }) =>
      parts.map(({ rows }) => bakedCopies * 4 * rows * columns),
    ),
  );

/** Float32 copies of a weight. */
const bakedCopies = 3.5;

/** The sum of biases, of which the layer may have none. */
const plus = (bias: MxArray | null, change: MxArray): MxArray => (bias ? add(bias, change) : change);
