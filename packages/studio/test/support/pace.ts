/*
 * An engine whose jobs take long, like those of a large model, and still leave the processor to the browser: it waits
 * after each step. A file holds the milliseconds of the first step; without it, nothing waits. Later steps wait longer
 * (three times, five times as long, …), so tests see the first ones soon and the job still outlasts them.
 */

const waitingFor = (file: string): string => `
import { readFileSync } from "node:fs";
if (process.argv[1]?.endsWith("/engine/host.js")) {
  const first = () => {
    try {
      return Number(readFileSync(${JSON.stringify(file)}, "utf8"));
    } catch (error) {
      if (error.code === "ENOENT") return 0;
      throw error;
    }
  };
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    const sent = send(message, ...rest);
    if (message.event?.type === "step") {
      const times = 2 * message.event.index - 1;
      const began = performance.now();
      while (performance.now() - began < first() * times)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    return sent;
  };
}`;

/** The environment of a server whose engine waits after each step for the time that a file gives. */
export const pacedBy = (file: string): Readonly<Record<string, string>> => ({
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(waitingFor(file))}`,
});
