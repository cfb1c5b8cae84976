import { native } from "../load.js";
import { add, astype, multiply, reshape, slice, stack, subtract, swapaxes } from "../ops.js";
import type { MxArray } from "../types.js";
import type { RMSNorm } from "./norm.js";

/** `x + gate · y`: `x` and `y [batch, tokens, dims]`, `gate [batch, 1, dims]` → the shape of `x`. */
export function gatedAdd(x: MxArray, gate: MxArray, y: MxArray): MxArray {
  if ([x, gate, y].every((a) => native.fusible(a))) return native.fusedGatedAdd(x, gate, y);
  return add(x, multiply(gate, y));
}

/** Cosines and sines of a rotary position embedding, float32 `[tokens, head_dim / 2]`. */
export interface RotaryTables {
  cos: MxArray;
  sin: MxArray;
}

/**
 * Splits `x [batch, tokens, heads · head_dim]` into heads, normalizes each head's vector and turns its pairs of adjacent
 * channels, in float32, by the angles of its token → `[batch, heads, tokens, head_dim]`.
 * @param offset the row of the tables where the tokens of `x` begin
 */
export function rotaryHeads(
  x: MxArray,
  norm: RMSNorm,
  heads: number,
  { cos, sin }: RotaryTables,
  offset: number,
): MxArray {
  if (native.fusible(x) && native.fusible(norm.weight))
    return native.fusedNormRotate(x, norm.weight, cos, sin, heads, offset, norm.eps);
  const [batch, tokens, width] = x.shape as [number, number, number];
  const dims = width / heads;
  const normed = norm.forward(swapaxes(reshape(x, [batch, tokens, heads, dims]), 1, 2));
  const pairs = reshape(astype(normed, "float32"), [batch, heads, tokens, dims / 2, 2]);
  const first = slice(pairs, [null, null, null, null, 0]);
  const second = slice(pairs, [null, null, null, null, 1]);
  const rows = [[offset, offset + tokens]] as const;
  const [c, s] = [slice(cos, rows), slice(sin, rows)];
  const turned = stack(
    [subtract(multiply(first, c), multiply(second, s)), add(multiply(second, c), multiply(first, s))],
    -1,
  );
  return astype(reshape(turned, normed.shape), normed.dtype);
}
