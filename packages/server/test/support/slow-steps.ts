/*
 * An engine whose steps take long, as those of a large model do, and yet leave the processor to others.
 */
import { inUrl } from "./preload.js";

/** How much longer a step takes. */
const stepMs = 400;

const wait = `
if (process.argv[1]?.endsWith("/engine/host.js")) {
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    const sent = send(message, ...rest);
    if (message.event?.type === "step") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${stepMs});
    return sent;
  };
}`;

/** The environment in which a process has such an engine. */
export const slowSteps: Readonly<Record<string, string>> = { NODE_OPTIONS: `--import ${inUrl(wait)}` };

/** A job that lasts for seconds with slow steps, and has checkpoints. */
export const longJob = { request: { steps: 12, seed: 11 } };
