import {
  bfloat16AttentionSpeed,
  Linear,
  type Module,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";

/**
 * Makes a network multiply quantized weights by 8-bit inputs, and use bfloat16 in attention if that is faster.
 * @param exact matches the paths of layers whose inputs stay unrounded.
 */
export function useInt8Products<M extends Module>(network: M, exact?: RegExp): M {
  setQuantizedProducts(network, "int8");
  if (exact)
    for (const [path, layer] of network.modules())
      if (layer instanceof Linear && exact.test(path)) layer.products = "exact";
  if (bfloat16AttentionSpeed() === "faster") setAttentionProducts(network, "bfloat16");
  return network;
}
