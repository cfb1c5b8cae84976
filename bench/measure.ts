import { readFileSync } from "node:fs";
import { evaluateSync, matmul, memory, random, scope } from "@mflux-depth/mlx";

/** One line of a benchmark's table: a name, and figures with their units in their names. */
export type Row = { name: string } & Record<string, string | number>;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median seconds of `times` runs after one that does not count. */
export async function seconds(times: number, run: () => unknown): Promise<number> {
  await run();
  const taken: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await run();
    taken.push((performance.now() - start) / 1000);
  }
  return median(taken);
}

/** The most memory this process had resident, in MB (10⁶ bytes), as the operating system counts it. */
export function peakResidentMB(): number {
  try {
    const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
    if (line) return (Number(line[1]) * 1024) / 1e6;
  } catch {
    // No /proc on macOS.
  }
  return process.resourceUsage().maxRSS / 1000;
}

export const peakMlxMB = (): number => memory.peakMemory() / 1e6;

export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

/** float32 G operations a second of a square matrix product: the yardstick of one run. */
export async function matmulPeak(size = 2048): Promise<number> {
  const [a, b] = [random.normal([size, size]), random.normal([size, size])];
  evaluateSync(a, b);
  const time = await seconds(5, () => scope(() => evaluateSync(matmul(a, b))));
  a.dispose();
  b.dispose();
  return (2 * size ** 3) / time / 1e9;
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
