import { native } from "./load.js";

/* All sizes in bytes, for the whole process (not this thread alone). */

/** Memory in use by arrays. */
export const activeMemory = (): number => native.activeMemory();
/** The most that was in use since the start or the last {@link resetPeakMemory}. */
export const peakMemory = (): number => native.peakMemory();
export const resetPeakMemory = (): void => native.resetPeakMemory();
/** Freed buffers that MLX keeps for the next arrays. */
export const cacheMemory = (): number => native.cacheMemory();
/** Gives cached buffers, and what the C heap keeps of them, back to the system. */
export const clearCache = (): void => native.clearCache();
/** Limits the cache; returns the limit before. */
export const setCacheLimit = (bytes: number): number => native.setCacheLimit(bytes);
/** Lets the cache keep up to `bytes`; when that is disposed of, up to `resting`, and it is emptied. */
export function keepBuffers(bytes: number, resting: number): Disposable {
  setCacheLimit(bytes);
  return {
    [Symbol.dispose]: () => {
      setCacheLimit(resting);
      clearCache();
    },
  };
}
/**
 * On Linux CPU a hard limit: an allocation that would pass it fails with an MlxError (MLX's own limit is a
 * guideline there). Elsewhere MLX's limit. Returns the limit before.
 */
export const setMemoryLimit = (bytes: number): number => native.setMemoryLimit(bytes);
/** Keeps up to this much wired on Metal; elsewhere without effect. Returns the limit before. */
export const setWiredLimit = (bytes: number): number => native.setWiredLimit(bytes);
/** Array handles of this thread that are not disposed. */
export const liveHandles = (): number => native.liveHandles();
