/*
 * Preloaded into a worker by a test: says on standard error how much processor time each turn of its event loop took.
 * The time that the system gave to other programs is not in it, so that a busy machine does not make turns longer.
 */
import { writeSync } from "node:fs";

/** Turns in which little happened are not worth a line. */
const leastMs = 10;

// The engine and the downloads, which inherit the preload, have nobody to answer.
if (process.argv.includes("worker")) {
  let before = process.cpuUsage();
  setInterval(() => {
    const { user, system } = process.cpuUsage(before);
    const ms = (user + system) / 1000;
    if (ms > leastMs) writeSync(2, `turn: ${ms.toFixed(1)} ms\n`);
    before = process.cpuUsage();
  }, 5).unref();
}
