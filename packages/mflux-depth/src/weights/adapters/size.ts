import type { AdapterRole } from "./keys.js";
import type { MatchedLayer } from "./match.js";
import { type Replacement, rowsOf } from "./targets.js";

/**
 * The most bytes that the adapters of a layer take in memory. Parts of a fused layer have separate handles of what they
 * share, and each of them counts.
 * @param valueBytes bytes of a value in the dtype that the layer computes in.
 */
export function adapterBytes({ module, form, target }: MatchedLayer, valueBytes: number): number {
  const rows = rowsOf(target);
  const { columns } = target;
  const parts = target.parts.length;
  const shape = (role: AdapterRole): readonly number[] => module.tensors.get(role)?.shape ?? [];
  const lowRank = (rank: number): number => rank * (rows + parts * columns);
  const matrices = (): number => {
    switch (form.kind) {
      case "low-rank":
        return module.tensors.has("magnitude") && isForEarlierColumns({ form, target })
          ? rows * columns
          : lowRank(form.rank!);
      case "hadamard":
        return hadamardIsWhole(form.rank! * shape("hada_w2_a")[1]!, rows, columns)
          ? rows * columns
          : lowRank(form.rank! * shape("hada_w2_a")[1]!);
      case "kronecker": {
        if (target.swapsHalves) return rows * columns;
        const [left, right] = ([1, 2] as const).map((n) => {
          const [height, width] = shape(`lokr_w${n}`);
          return [height ?? shape(`lokr_w${n}_a`)[0]!, width ?? shape(`lokr_w${n}_b`)[1]!] as const;
        }) as [readonly [number, number], readonly [number, number]];
        // Neighbouring parts may both need the row of the left factor at their boundary.
        return (left[0] + parts) * left[1] + parts * right[0] * right[1];
      }
      case "whole":
        return rows * columns;
      case "bias":
        return 0;
    }
  };
  const biases = module.tensors.has("upBias") || module.tensors.has("diffBias") ? rows : 0;
  const gains = shape("magnitude").reduce(
    (product, n) => product * n,
    module.tensors.has("magnitude") ? parts : 0,
  );
  return valueBytes * (matrices() + biases + gains);
}

/** Whether an adapter is for the base model's version of a layer, which has fewer inputs. */
export const isForEarlierColumns = ({ form, target }: Pick<MatchedLayer, "form" | "target">): boolean =>
  form.kind === "low-rank" && form.columns! < target.columns;

/** Whether the product of two low-rank matrices, element by element, takes less memory as a whole matrix. */
export const hadamardIsWhole = (rank: number, rows: number, columns: number): boolean =>
  rank * (rows + columns) >= rows * columns;

/**
 * The most bytes that reading one replacement takes: it comes as a whole, in float32, and is cut and quantized. What is
 * replaced takes as much as before, except for a bias that a layer did not have.
 */
export const replacingBytes = (replacements: readonly Replacement[]): number =>
  Math.max(0, ...replacements.map(({ shape }) => replacingCopies * 4 * shape.reduce((a, b) => a * b, 1)));

/** Float32 copies of a replacement. */
const replacingCopies = 3;

/** The bytes of biases that replacements may add to layers without one. */
export const addedBiasBytes = (replacements: readonly Replacement[], valueBytes: number): number =>
  replacements
    .filter(({ parts }) => parts.some(({ path }) => path.endsWith(".bias")))
    .reduce((sum, { shape }) => sum + valueBytes * shape[0]!, 0);
