import { evaluateSync } from "../evaluate.js";
import { slice } from "../ops.js";
import { normal, split } from "../random.js";
import { scope } from "../scope.js";
import type { MxArray } from "../types.js";
import type { Module } from "./module.js";

/**
 * Fills the parameters of a module that is not quantized with normal values of deviation `scale`, for tests and
 * benchmarks without a checkpoint. Weights of one axis (the factors of norms) lie around 1, everything else around 0.
 */
export function randomize(module: Module, key: MxArray, scale = 0.02): void {
  const slots = [...module.modules()].flatMap(([, layer]) =>
    layer.ownParameters().map(([name, { shape, dtype }]) => ({ layer, name, shape, dtype })),
  );
  if (slots.length === 0) return;
  using keys = split(key, slots.length);
  for (const [index, { layer, name, shape, dtype }] of slots.entries()) {
    const loc = name === "weight" && shape.length === 1 ? 1 : 0;
    const drawn = scope(() => normal(shape, { dtype, loc, scale, key: slice(keys, [index]) }));
    evaluateSync(drawn);
    layer.replace(name, drawn);
  }
}
