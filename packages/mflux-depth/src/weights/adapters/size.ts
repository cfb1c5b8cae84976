import type { MatchedLayer } from "./match.js";
import { rowsOf } from "./targets.js";

/**
 * Bytes that the adapters of a layer take in memory.
 * @param valueBytes bytes of a value in the dtype that the layer computes in.
 */
export function adapterBytes({ module, form, target }: MatchedLayer, valueBytes: number): number {
  const rows = rowsOf(target);
  const { columns } = target;
  const elements = (role: Parameters<typeof module.tensors.get>[0]): number =>
    module.tensors.get(role)?.shape.reduce((product, n) => product * n, 1) ?? 0;
  const biases = module.tensors.has("upBias") || module.tensors.has("diffBias") ? rows : 0;
  const matrices = (): number => {
    switch (form.kind) {
      case "low-rank":
        return form.rank! * (rows + columns);
      case "hadamard": {
        const rank = form.rank! * module.tensors.get("hada_w2_a")!.shape[1]!;
        return Math.min(rank * (rows + columns), rows * columns);
      }
      case "kronecker": {
        if (target.swapsHalves) return rows * columns;
        const size = (n: 1 | 2): number =>
          elements(`lokr_w${n}`) ||
          product(module.tensors.get(`lokr_w${n}_a`)?.shape[0], module.tensors.get(`lokr_w${n}_b`)?.shape[1]);
        return size(1) + target.parts.length * size(2);
      }
      case "whole":
        return rows * columns;
      case "bias":
        return 0;
    }
  };
  return valueBytes * (matrices() + biases + elements("magnitude"));
}

const product = (rows = 0, columns = 0): number => rows * columns;
