/*
 * Reads images and reports what that took; run as a process of its own by the tests of large images.
 *
 * Arguments: `photo:PATH` or `map:PATH`, `photo-bytes:PATH` for the bytes of a file, which are its caller's, or
 * `abort:MILLISECONDS` for all that follow. Prints one line of JSON.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { readDepthMap, readPhoto } from "../../src/images/decode.js";

/** The reader's report. */
export interface ReaderReport {
  readonly images: readonly (
    | {
        readonly size: readonly [number, number];
        readonly original: readonly [number, number];
        /** Bytes of this process and its children at most, beyond what this process had at the start. */
        readonly peak: number;
        /** The longest time that this process computed without looking at its event loop, in milliseconds. */
        readonly blocked: number;
      }
    | { readonly error: string; readonly afterAbort: number }
  )[];
  /** Processes that still run after the last image. */
  readonly children: number;
}

const children = (): string[] =>
  readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );

function residentBytes(process: string): number {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    // It has ended.
    return 0;
  }
}

const sumOf = (): number => ["self", ...children()].reduce((sum, process) => sum + residentBytes(process), 0);

let base = sumOf();
let [peak, blocked, last, used] = [0, 0, performance.now(), process.cpuUsage()];
const interval = 10;
const look = (): void => {
  const now = performance.now();
  const { user, system } = process.cpuUsage(used);
  // On a busy machine, most of the time belongs to other processes.
  blocked = Math.max(blocked, Math.min(now - last - interval, (user + system) / 1000));
  [last, used] = [now, process.cpuUsage()];
  peak = Math.max(peak, sumOf());
};
const watch = setInterval(look, interval);

const images: ReaderReport["images"][number][] = [];
let abortAfter: number | null = null;
for (const argument of process.argv.slice(2)) {
  const [kind, value] = argument.split(/:(.*)/s) as [string, string];
  if (kind === "abort") {
    abortAfter = Number(value);
    continue;
  }
  const controller = new AbortController();
  let aborted = 0;
  const timer = setTimeout(
    () => {
      aborted = performance.now();
      controller.abort(new Error("stopped by the test"));
    },
    abortAfter ?? 2 ** 30,
  );
  try {
    const read = kind === "map" ? readDepthMap : readPhoto;
    const input = kind === "photo-bytes" ? readFileSync(value) : value;
    if (typeof input !== "string") base += input.byteLength;
    [peak, blocked] = [0, 0];
    const { width, height, original } = await read(input, { signal: controller.signal });
    look();
    images.push({
      size: [width, height],
      original: [original.width, original.height],
      peak: peak - base,
      blocked,
    });
  } catch (error) {
    images.push({ error: (error as Error).message, afterAbort: performance.now() - aborted });
  } finally {
    clearTimeout(timer);
  }
}
clearInterval(watch);
// A killed process takes a moment to disappear.
for (let i = 0; i < 10 && children().length > 0; i++) await sleep(20);
const report: ReaderReport = { images, children: children().length };
process.stdout.write(JSON.stringify(report));
