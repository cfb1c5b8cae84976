import { addmm, evaluateSync, type MxArray, memory, random, scope, transpose } from "@mflux-depth/mlx";
import {
  attention,
  canMultiplyBfloat16,
  canMultiplyIntegers,
  DotProductAttention,
  Linear,
  randomize,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";
import { inTurn, type Row, ratio, round, type Timed, timed, yardsticks } from "./measure.js";
import type { Peer } from "./peer.js";

const evaluated = (run: () => MxArray): Timed => timed(() => scope(() => evaluateSync(run())));

interface Comparison {
  name: string;
  /** Operations of one run; a multiply-add counts as two. */
  operations: number;
  runs: Record<string, Timed>;
  /** Peak G operations per second of the instruction used by a run; 0 if unknown. */
  peak: (run: string) => number;
  /** Columns of ratios; each compares with the fastest of the runs it lists. */
  ratios: Record<string, readonly string[]>;
}

/** Times several ways to the same result, alternating; a row for each. */
async function compare({ name, operations, runs, peak, ratios }: Comparison): Promise<Row[]> {
  const times = await inTurn(5, runs);
  const fastest = (names: readonly string[]): number | undefined => {
    const known = names.flatMap((other) => times[other] ?? []);
    return known.length ? Math.min(...known) : undefined;
  };
  return Object.entries(times).map(([run, time]) => {
    const rate = operations / time / 1e9;
    const compared = Object.entries(ratios).map(([title, others]) => [
      title,
      others.includes(run) ? "" : ratio(fastest(others), time),
    ]);
    return {
      name: `${name}, ${run}`,
      ms: round(time * 1000),
      "G op/s": round(rate),
      "of peak": peak(run) ? round(rate / peak(run), 2) : "",
      ...Object.fromEntries(compared),
    };
  });
}

const torchRuns = ["PyTorch float32", "PyTorch bfloat16"] as const;
const mlxRuns = ["MLX for Python, float32", "MLX for Python, 4 bits"] as const;

/** Linear layers of FLUX.1's sizes (dense float32; 4 bits with exact and with 8-bit inputs) and attention. */
export async function benchKernels(peer: Peer | null): Promise<Row[]> {
  memory.setCacheLimit(1e9);
  const { peaks, rows } = await yardsticks();
  const linear = async (
    tokens: number,
    inputs: number,
    outputs: number,
    others: Record<string, Timed>,
    ratios: Comparison["ratios"],
  ): Promise<void> => {
    using x = random.normal([1, tokens, inputs]);
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
    const compared = await compare({
      name: `Linear ${tokens} × ${inputs} → ${outputs}`,
      operations: 2 * tokens * inputs * outputs,
      runs: {
        "dense float32": evaluated(() => addmm(dense.bias!, x, transpose(dense.weight))),
        "4 bits, exact": evaluated(() => exact.forward(x)),
        ...(canMultiplyIntegers() && { "4 bits, int8": evaluated(() => integer.forward(x)) }),
        ...others,
      },
      peak: (run) => peaks[run === "4 bits, int8" ? "int8" : run === torchRuns[1] ? "bfloat16" : "float32"],
      ratios: { "× dense": ["dense float32"], ...ratios },
    });
    rows.push(...compared);
  };

  for (const [tokens, inputs, outputs] of [
    [768, 3072, 12288],
    [1536, 15360, 3072],
  ] as const) {
    const size = { rows: tokens, inputs, outputs };
    await using float32 = await peer?.make("linear", { ...size, dtype: "float32" });
    await using bfloat16 = await peer?.make("linear", { ...size, dtype: "bfloat16" });
    const theirs = float32 && bfloat16 && { [torchRuns[0]]: float32.run, [torchRuns[1]]: bfloat16.run };
    await linear(tokens, inputs, outputs, { ...theirs }, theirs ? { "× PyTorch": torchRuns } : {});
  }

  // The image tokens of 512×512 and of 1024×1024, plus those of the text.
  for (const tokens of [1536, 4608]) {
    const [heads, dims] = [24, 128];
    using q = random.normal([1, heads, tokens, dims]);
    evaluateSync(q);
    using exact = new DotProductAttention(dims ** -0.5);
    using rounded = new DotProductAttention(dims ** -0.5);
    setAttentionProducts(rounded, "bfloat16");
    const size = { heads, tokens, dims };
    await using float32 = await peer?.make("attention", { ...size, dtype: "float32" });
    await using bfloat16 = await peer?.make("attention", { ...size, dtype: "bfloat16" });
    const attended = await compare({
      name: `attention ${heads} × ${tokens} × ${dims}`,
      operations: 4 * heads * tokens ** 2 * dims,
      runs: {
        float32: evaluated(() => exact.forward(q, q, q)),
        ...(canMultiplyBfloat16() && { bfloat16: evaluated(() => rounded.forward(q, q, q)) }),
        ...(float32 && bfloat16 && { [torchRuns[0]]: float32.run, [torchRuns[1]]: bfloat16.run }),
      },
      peak: (run) => peaks[run === "bfloat16" || run === torchRuns[1] ? "bfloat16" : "float32"],
      ratios: peer ? { "× PyTorch float32": [torchRuns[0]], "× PyTorch bfloat16": [torchRuns[1]] } : {},
    });
    rows.push(...attended);
  }

  // MLX's wheel is too slow here for large sizes.
  if (peer?.versions.mlx) {
    const size = { rows: 64, inputs: 3072, outputs: 3072 };
    await using float32 = await peer.make("mlx_linear", { ...size, bits: null });
    await using quantized = await peer.make("mlx_linear", { ...size, bits: 4 });
    await linear(
      size.rows,
      size.inputs,
      size.outputs,
      { [mlxRuns[0]]: float32.run, [mlxRuns[1]]: quantized.run },
      { "× MLX for Python": mlxRuns },
    );
    const small = { heads: 8, tokens: 256, dims: 128 };
    using few = random.normal([1, small.heads, small.tokens, small.dims]);
    evaluateSync(few);
    await using attending = await peer.make("mlx_attention", small);
    const compared = await compare({
      name: `attention ${small.heads} × ${small.tokens} × ${small.dims}`,
      operations: 4 * small.heads * small.tokens ** 2 * small.dims,
      runs: {
        float32: evaluated(() => attention(few, few, few, { scale: small.dims ** -0.5 })),
        [mlxRuns[0]]: attending.run,
      },
      peak: () => peaks.float32,
      ratios: { "× MLX for Python": [mlxRuns[0]] },
    });
    rows.push(...compared);
  }
  return rows;
}
