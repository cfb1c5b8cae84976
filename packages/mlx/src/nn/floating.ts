import { astype } from "../ops.js";
import type { DType, MxArray } from "../types.js";

const floating: ReadonlySet<DType> = new Set(["float16", "bfloat16", "float32", "float64"]);

export const isFloating = (dtype: DType): boolean => floating.has(dtype);

/** Casts a floating tensor to `dtype`; returns any other tensor, or without a dtype, unchanged. */
export const castTo = (dtype: DType | undefined, tensor: MxArray): MxArray =>
  dtype !== undefined && dtype !== tensor.dtype && isFloating(tensor.dtype) ? astype(tensor, dtype) : tensor;
