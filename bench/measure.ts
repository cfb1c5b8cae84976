import { readFileSync, writeFileSync } from "node:fs";
import { evaluateSync, matmul, memory, peakRate, random, scope } from "@mflux-depth/mlx";

/** One line of a bench's table: a name, and figures whose keys end in their units. */
export type Row = { name: string } & Record<string, string | number>;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Runs something once and returns the seconds. */
export type Timed = () => Promise<number>;

/** Times work in this process. */
export const timed =
  (run: () => unknown): Timed =>
  async () => {
    const start = performance.now();
    await run();
    return (performance.now() - start) / 1000;
  };

/** Median seconds of `times` runs, after a warm-up. */
export async function seconds(times: number, run: () => unknown): Promise<number> {
  await run();
  const taken: number[] = [];
  for (let i = 0; i < times; i++) taken.push(await timed(run)());
  return median(taken);
}

/** Best seconds of each run over `rounds`, after a warm-up. The runs alternate, so that they see the same machine. */
export async function inTurn(rounds: number, runs: Record<string, Timed>): Promise<Record<string, number>> {
  const least: Record<string, number> = {};
  for (let round = 0; round <= rounds; round++)
    for (const [name, run] of Object.entries(runs)) {
      const taken = await run();
      if (round > 0) least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, taken);
    }
  return least;
}

/** How many times as fast `ours` is as `other`, both in seconds; empty if one was not measured. */
export const ratio = (other: number | undefined, ours: number | undefined): number | "" =>
  other === undefined || ours === undefined ? "" : round(other / ours);

/** ‖a − b‖² and ‖b‖². */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): { squares: number; norm: number } {
  let [squares, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    squares += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return { squares, norm };
}

/** ‖a − b‖ / ‖b‖ */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const { squares, norm } = difference(a, b);
  return Math.sqrt(squares / norm);
}

const statusMB = (key: "VmHWM" | "VmRSS"): number | null => {
  try {
    const kB = new RegExp(`${key}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return kB === undefined ? null : (Number(kB) * 1024) / 1e6;
  } catch {
    // macOS has no /proc.
    return null;
  }
};

/** Peak resident memory of this process in MB (10⁶ bytes), as the operating system counts it. */
export const peakResidentMB = (): number => statusMB("VmHWM") ?? process.resourceUsage().maxRSS / 1000;

/** Resets the operating system's peak of resident memory (Linux). */
export function resetPeakResident(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Elsewhere the peak covers the whole life of the process.
  }
}

export const peakMlxMB = (): number => memory.peakMemory() / 1e6;

export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

/** G operations per second of a square float32 matrix product: the yardstick of a run. */
async function matmulRate(size = 2048): Promise<number> {
  const [a, b] = [random.normal([size, size]), random.normal([size, size])];
  evaluateSync(a, b);
  const { product } = await inTurn(10, { product: timed(() => scope(() => evaluateSync(matmul(a, b)))) });
  a.dispose();
  b.dispose();
  return (2 * size ** 3) / product! / 1e9;
}

/** G operations per second to compare with: the peak of each unit (0 if unknown), and what BLAS reaches. */
interface Yardsticks {
  peaks: Record<"float32" | "bfloat16" | "int8", number>;
  matmul: number;
  rows: Row[];
}

export async function yardsticks(): Promise<Yardsticks> {
  const peak = (arithmetic: "float32" | "bfloat16" | "int8"): number =>
    Math.max(...Array.from({ length: 5 }, () => peakRate(arithmetic))) / 1e9;
  const peaks = { float32: peak("float32"), bfloat16: peak("bfloat16"), int8: peak("int8") };
  const matmul = await matmulRate();
  const known = Object.entries(peaks).filter(([, rate]) => rate > 0);
  return {
    peaks,
    matmul,
    rows: [
      ...known.map(([name, rate]) => ({ name: `${name} in registers (the peak)`, "G op/s": round(rate) })),
      {
        name: "matmul 2048³, float32",
        "G op/s": round(matmul),
        "of peak": peaks.float32 ? round(matmul / peaks.float32, 2) : "",
      },
    ],
  };
}

export function print(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}`);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column] ?? "")))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)));
  for (const line of cells)
    console.log(
      line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "),
    );
}
