import { native } from "../load.js";
import { add, astype, erf, maximum, multiply, sigmoid, tanh } from "../ops.js";
import type { MxArray } from "../types.js";

/**
 * Uses the fused pass of the CPU backend where it applies. Otherwise computes the plain operations in float32 and
 * rounds once to the dtype of `x`, like PyTorch does for 16-bit types.
 */
const activate = (x: MxArray, kind: string, plain: (wide: MxArray) => MxArray): MxArray =>
  native.fusible(x) ? native.fusedActivation(x, kind) : astype(plain(astype(x, "float32")), x.dtype);

/** `x · sigmoid(x)`. */
export const silu = (x: MxArray): MxArray => activate(x, "silu", (v) => multiply(v, sigmoid(v)));

/** `x · Φ(x)`, exact by the error function. */
export const gelu = (x: MxArray): MxArray =>
  activate(x, "gelu", (v) => multiply(multiply(v, 0.5), add(erf(multiply(v, Math.SQRT1_2)), 1)));

/** `x · Φ(x)` approximated by tanh (Hendrycks and Gimpel, 2016): `gelu_new`, `gelu_pytorch_tanh`. */
export const geluTanh = (x: MxArray): MxArray =>
  activate(x, "geluTanh", (v) => {
    const cubic = multiply(multiply(multiply(v, v), v), 0.044715);
    const inner = multiply(add(v, cubic), Math.sqrt(2 / Math.PI));
    return multiply(multiply(v, 0.5), add(tanh(inner), 1));
  });

/** `x · sigmoid(1.702 x)`, CLIP's approximation of GELU. */
export const quickGelu = (x: MxArray): MxArray =>
  activate(x, "quickGelu", (v) => multiply(v, sigmoid(multiply(v, 1.702))));

/** `max(x, 0)`. */
export const relu = (x: MxArray): MxArray => activate(x, "relu", (v) => maximum(v, 0));

/** Activations that a layer can apply to its result, by name. */
export const activations = { silu, gelu, geluTanh, quickGelu };

export type Activation = keyof typeof activations;
