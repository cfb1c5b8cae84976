import {
  bfloat16AttentionSpeed,
  type Module,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";

/** Makes a network multiply quantized weights by 8-bit inputs, and use bfloat16 in attention if that is faster. */
export function useInt8Products<M extends Module>(network: M): M {
  setQuantizedProducts(network, "int8");
  if (bfloat16AttentionSpeed() === "faster") setAttentionProducts(network, "bfloat16");
  return network;
}
