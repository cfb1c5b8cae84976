import type { StoredTensor } from "./format.js";

/** Totals over some tensors. */
export interface WeightStatistics {
  readonly tensors: number;
  /** The number of stored values; for quantized matrices, of packed integers. */
  readonly values: number;
  readonly bytes: number;
  /** Bytes of each dtype, under safetensors' names, largest first. */
  readonly dtypes: Readonly<Record<string, number>>;
}

/** Sums up tensors from their headers. */
export function statisticsOf(entries: Iterable<StoredTensor>): WeightStatistics {
  const dtypes = new Map<string, number>();
  let [tensors, values, bytes] = [0, 0, 0];
  for (const { dtype, shape, bytes: size } of entries) {
    tensors++;
    values += shape.reduce((product, n) => product * n, 1);
    bytes += size;
    dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + size);
  }
  return { tensors, values, bytes, dtypes: Object.fromEntries([...dtypes].sort(([, a], [, b]) => b - a)) };
}
