/*
 * An engine whose steps take long, like those of a large model, and still leave the processor to others.
 * Decoding starts with the same wait, for tests that end something at that moment.
 */
import { inUrl } from "./preload.js";

/** How much longer a step and decoding take. */
const stepMs = 400;

const wait = `
if (process.argv[1]?.endsWith("/engine/host.js")) {
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    const sent = send(message, ...rest);
    const { type, stage, state } = message.event ?? {};
    if (type === "step" || (stage === "decode" && state === "start")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${stepMs});
    return sent;
  };
}`;

/** The environment in which a process has such an engine. */
export const slowSteps: Readonly<Record<string, string>> = { NODE_OPTIONS: `--import ${inUrl(wait)}` };

/** A job that lasts for seconds with slow steps, and has checkpoints. */
export const longJob = { request: { steps: 12, seed: 11 } };
