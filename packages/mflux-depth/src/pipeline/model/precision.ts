import type { DeviceType, DType } from "@mflux-depth/mlx";
import { canMultiplyIntegers, multipliesStored } from "@mflux-depth/mlx/nn";
import { OptionError } from "../../errors.js";
import { runsFused } from "../../models/layer-plan.js";
import type { Bits, ResolvedLoadOptions } from "../../options/index.js";

/** The number formats in which a model is held and computed. */
export interface Precision {
  /** The dtype of activations and of weights that are not quantized. See {@link componentDType} for exceptions. */
  readonly dtype: DType;
  /** Bits of quantized matrices, as stored or else as requested; null if they are not quantized. */
  readonly bits: Bits | null;
  /** Whether the weights are stored quantized, so that their bits cannot change. */
  readonly bitsAreStored: boolean;
  /**
   * Whether quantized weights are multiplied by 8-bit inputs, and attention uses bfloat16 on machines where that is
   * faster.
   */
  readonly int8: boolean;
  /** Whether layers run on fused kernels, see {@link runsFused}. */
  readonly fused: boolean;
  /** Whether 16-bit matrices stay as stored, and are widened during multiplication. */
  readonly matricesAsStored: boolean;
}

/**
 * Chooses the number formats for a model.
 * @param storedBits bits of matrices that are stored quantized; null for other weights.
 * @throws {OptionError} if 8-bit inputs are requested but not supported by the machine.
 */
export function choosePrecision(
  options: Pick<ResolvedLoadOptions, "dtype" | "quantize" | "int8">,
  device: DeviceType,
  storedBits: Bits | null,
): Precision {
  const dtype = options.dtype ?? (device === "cpu" ? "float32" : "bfloat16");
  const bits = storedBits ?? options.quantize;
  const fused = runsFused(dtype, device);
  const canInt8 = fused && canMultiplyIntegers(bits ?? undefined);
  if (options.int8 && !canInt8)
    throw new OptionError(
      "int8",
      "int8 needs a Linux CPU that computes in float32, with AVX-512 VNNI or AVX-VNNI, or with AVX2 for weights of up to 6 bits.",
      { details: { remedies: [{ kind: "omit-option", option: "int8" }] } },
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

/** The dtype of a component: the model's, unless the component's activations exceed the range of float16. */
export const componentDType = (
  { float32InsteadOfFloat16 = false }: { readonly float32InsteadOfFloat16?: boolean },
  { dtype }: Precision,
): DType => (float32InsteadOfFloat16 && dtype === "float16" ? "float32" : dtype);
