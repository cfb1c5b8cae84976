import { native } from "./load.js";

/* All sizes are in bytes and cover the whole process. */

/** Memory used by arrays. */
export const activeMemory = (): number => native.activeMemory();
/** Peak of {@link activeMemory} since the start or the last {@link resetPeakMemory}. */
export const peakMemory = (): number => native.peakMemory();
export const resetPeakMemory = (): void => native.resetPeakMemory();
/** Freed buffers that MLX keeps for reuse. */
export const cacheMemory = (): number => native.cacheMemory();
/** Returns cached buffers, including those held by the C heap, to the system. */
export const clearCache = (): void => native.clearCache();
/** Limits the cache and returns the previous limit. */
export const setCacheLimit = (bytes: number): number => native.setCacheLimit(bytes);
/** The limit of the cache. */
export function cacheLimit(): number {
  const limit = setCacheLimit(0);
  setCacheLimit(limit);
  return limit;
}

/** The limits of those who keep buffers now, and the limit from before. */
const keepers = new Set<{ readonly bytes: number }>();
let restingLimit = 0;

/**
 * Lets the cache keep up to `bytes`. Disposing the result empties the cache, and restores the previous limit once no
 * other keeper is left. Among several keepers, the largest limit applies. Do not set the limit in the meantime.
 */
export function keepBuffers(bytes: number): Disposable {
  const keeper = { bytes };
  const applyLargest = (): number => setCacheLimit(Math.max(...Array.from(keepers, (one) => one.bytes)));
  if (keepers.size === 0) restingLimit = cacheLimit();
  keepers.add(keeper);
  applyLargest();
  return {
    [Symbol.dispose]: () => {
      if (!keepers.delete(keeper)) return;
      if (keepers.size > 0) applyLargest();
      else setCacheLimit(restingLimit);
      clearCache();
    },
  };
}
/**
 * Limits the memory of arrays and returns the previous limit. On a Linux CPU the limit is hard: an allocation beyond it
 * fails with an MlxError. Elsewhere it is MLX's own limit, a guideline.
 */
export const setMemoryLimit = (bytes: number): number => native.setMemoryLimit(bytes);
/** Sets how much memory Metal keeps wired and returns the previous limit. No effect elsewhere. */
export const setWiredLimit = (bytes: number): number => native.setWiredLimit(bytes);
/** Number of undisposed array handles of this thread. */
export const liveHandles = (): number => native.liveHandles();
