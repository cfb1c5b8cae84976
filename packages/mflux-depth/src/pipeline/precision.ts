import type { DeviceType, DType } from "@mflux-depth/mlx";
import {
  canMultiplyIntegers,
  type Module,
  multipliesStored,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";
import { OptionError } from "../errors.js";
import type { Bits, ResolvedLoadOptions } from "../options/index.js";

/** The numbers that a model is held and computed in. */
export interface Precision {
  readonly dtype: DType;
  /** Bits of quantized matrices: as stored, else as requested; null when they are not quantized. */
  readonly bits: Bits | null;
  /** True when the weights are stored quantized, so that no other bits are possible. */
  readonly bitsAreStored: boolean;
  /** Multiplies quantized weights with 8-bit inputs, and attends in bfloat16 where the machine can. */
  readonly int8: boolean;
  /** Computes in float32 on the CPU, where layers have fused kernels. */
  readonly fused: boolean;
  /** Keeps 16-bit matrices as stored and widens them in the multiplication. */
  readonly matricesAsStored: boolean;
}

/**
 * Chooses the numbers to compute with.
 * @throws {OptionError} when 8-bit inputs are requested and the machine cannot multiply them.
 */
export function choosePrecision(
  options: Pick<ResolvedLoadOptions, "dtype" | "quantize" | "int8">,
  device: DeviceType,
  storedBits: Bits | null,
): Precision {
  const dtype = options.dtype ?? (device === "cpu" ? "float32" : "bfloat16");
  const bits = storedBits ?? options.quantize;
  const fused = computesFused(device, dtype);
  const canInt8 = fused && canMultiplyIntegers(bits ?? undefined);
  if (options.int8 && !canInt8)
    throw new OptionError(
      "int8",
      "int8 needs a Linux CPU that computes in float32, with AVX-512 VNNI or AVX-VNNI, or with AVX2 for weights of up to 6 bits; leave it out on this machine.",
    );
  return {
    dtype,
    bits,
    bitsAreStored: storedBits !== null,
    int8: options.int8 ?? (canInt8 && bits !== null),
    fused,
    matricesAsStored: fused && multipliesStored(),
  };
}

/** Tells whether layers run on the CPU's fused kernels, which compute in float32. */
const computesFused = (device: DeviceType, dtype: DType): boolean => device === "cpu" && dtype === "float32";

/** Makes a network multiply quantized weights with 8-bit inputs and attend in bfloat16. */
export function useInt8Products<M extends Module>(network: M): M {
  setQuantizedProducts(network, "int8");
  setAttentionProducts(network, "bfloat16");
  return network;
}
