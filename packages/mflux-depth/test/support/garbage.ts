import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Makes a function that runs V8's garbage collector. It waits for the next turn of the event loop, because a WeakRef
 * keeps its target for the rest of the turn that made or read it.
 */
export function exposedCollector(): () => Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  return async () => {
    await setImmediate();
    collect();
  };
}
