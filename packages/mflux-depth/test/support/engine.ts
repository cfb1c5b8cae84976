import { readFileSync } from "node:fs";
import type { EngineEvent, EngineJob } from "../../src/engine/index.js";
import { at } from "./tensors.js";

const map = readFileSync(at("../../examples/images/cube_depth.png"));

/** The load options of {@link job}. */
export const load = { model: "tiny-world", quantize: "none" } as const;

/** A small job of the bundled model. */
export const job = (
  request: Partial<EngineJob["request"]> = {},
  more: Partial<EngineJob> = {},
): EngineJob => ({
  load,
  request: { prompt: "a red cube", depthImage: map, width: 64, height: 64, steps: 2, seed: 7, ...request },
  ...more,
});

/** Resolves `seen` at the first event that matches. */
export function when(matches: (event: EngineEvent) => boolean): {
  onEvent: (event: EngineEvent) => void;
  seen: Promise<void>;
} {
  let resolve = (): void => {};
  const seen = new Promise<void>((r) => {
    resolve = r;
  });
  return { onEvent: (event) => matches(event) && resolve(), seen };
}

/** Whether a process exists. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
