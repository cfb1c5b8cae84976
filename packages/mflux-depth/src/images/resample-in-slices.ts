import { setImmediate } from "node:timers/promises";
import { emptyRaster, type Filter, resizing, type TakeRow } from "./resample.js";
import type { Raster } from "./types.js";

/**
 * Like `resize`, but lets other work run in between: large photos take more than a second.
 * @throws the signal's reason when it is aborted.
 */
export async function resizeInSlices(
  source: Raster,
  width: number,
  height: number,
  filter: Filter,
  signal: AbortSignal | undefined,
): Promise<Raster> {
  if (source.width === width && source.height === height) return source;
  const { raster, take } = emptyRaster(width, height, source.channels);
  await inSlices(resizing(source, width, height, filter, take), signal);
  return raster;
}

/**
 * Like {@link resizeInSlices}, but delivers one row at a time, so that a large result never exists as a whole.
 * @throws the signal's reason when it is aborted.
 */
export async function resizeByRows(
  source: Raster,
  width: number,
  height: number,
  filter: Filter,
  take: TakeRow,
  signal: AbortSignal | undefined,
): Promise<void> {
  await inSlices(resizing(source, width, height, filter, take), signal);
}

/** The longest delay of other work, in milliseconds. */
const longestSlice = 20;

async function inSlices(work: Generator<void, void, void>, signal: AbortSignal | undefined): Promise<void> {
  for (let began = performance.now(); !work.next().done; ) {
    if (performance.now() - began < longestSlice) continue;
    await setImmediate();
    signal?.throwIfAborted();
    began = performance.now();
  }
}
