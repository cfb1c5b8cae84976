import { setTimeout as sleep } from "node:timers/promises";

/** Waits until something is so. @throws if it is not within a minute. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 60_000; !(await isSo()); await sleep(10))
    if (performance.now() > deadline) throw new Error(`not so within a minute: ${isSo}`);
}
