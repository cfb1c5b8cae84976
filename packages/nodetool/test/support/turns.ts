/*
 * Preloaded into a worker by a test: logs to standard error the processor time of each turn of its event loop. Processor
 * time leaves out other programs, so a busy machine does not make turns longer.
 */
import { writeSync } from "node:fs";

/** Shorter turns are not logged. */
const leastMs = 10;

// The engine and the downloads inherit the preload, but answer no requests.
if (process.argv.includes("worker")) {
  let before = process.cpuUsage();
  setInterval(() => {
    const { user, system } = process.cpuUsage(before);
    const ms = (user + system) / 1000;
    if (ms > leastMs) writeSync(2, `turn: ${ms.toFixed(1)} ms\n`);
    before = process.cpuUsage();
  }, 5).unref();
}
