import { addmm, evaluateSync, type MxArray, memory, random, scope, transpose } from "@mflux-depth/mlx";
import { attention, canMultiplyIntegers, Linear, randomize, setQuantizedProducts } from "@mflux-depth/mlx/nn";
import { matmulPeak, type Row, round } from "./measure.js";

/** The best of five, in turn with the others so that all see the same machine. */
function best(runs: Record<string, () => MxArray>): Record<string, number> {
  const least: Record<string, number> = {};
  for (let round = 0; round < 6; round++)
    for (const [name, run] of Object.entries(runs)) {
      const start = performance.now();
      scope(() => evaluateSync(run()));
      const seconds = (performance.now() - start) / 1000;
      // The first round warms up.
      if (round > 0) least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, seconds);
    }
  return least;
}

/** Linear layers of FLUX.1's sizes: dense float32, and 4 bits with exact and with 8-bit inputs; attention. */
export async function benchKernels(): Promise<Row[]> {
  memory.setCacheLimit(1e9);
  const rows: Row[] = [{ name: "matmul 2048³ (the peak)", "G op/s": round(await matmulPeak()) }];
  for (const [tokens, inputs, outputs] of [
    [768, 3072, 12288],
    [1536, 15360, 3072],
  ] as const) {
    const x = random.normal([1, tokens, inputs]);
    using dense = new Linear(inputs, outputs);
    randomize(dense, random.key(0), 0.02);
    using exact = new Linear(inputs, outputs);
    randomize(exact, random.key(0), 0.02);
    exact.quantize({ bits: 4 });
    using integer = new Linear(inputs, outputs);
    randomize(integer, random.key(0), 0.02);
    integer.quantize({ bits: 4 });
    setQuantizedProducts(integer, "int8");
    evaluateSync(x);
    const times = best({
      "dense float32": () => addmm(dense.bias!, x, transpose(dense.weight)),
      "4 bits, exact": () => exact.forward(x),
      ...(canMultiplyIntegers() && { "4 bits, int8": () => integer.forward(x) }),
    });
    for (const [mode, time] of Object.entries(times))
      rows.push({
        name: `Linear ${tokens} × ${inputs} → ${outputs}, ${mode}`,
        ms: round(time * 1000),
        "G op/s": round((2 * tokens * inputs * outputs) / time / 1e9),
        "× dense": round(times["dense float32"]! / time, 2),
      });
    x.dispose();
  }
  const [heads, tokens, dims] = [24, 1536, 128];
  const q = random.normal([1, heads, tokens, dims]);
  evaluateSync(q);
  const { attended } = best({ attended: () => attention(q, q, q, { scale: dims ** -0.5 }) });
  rows.push({
    name: `attention ${heads} × ${tokens} × ${dims}`,
    ms: round(attended! * 1000),
    "G op/s": round((4 * heads * tokens ** 2 * dims) / attended! / 1e9),
  });
  q.dispose();
  return rows;
}
