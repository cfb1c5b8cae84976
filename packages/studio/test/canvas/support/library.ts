/*
 * The library's own adjustments, with which the page must agree. They are no part of its public interface, hence the path.
 */

export interface Raster {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Float32Array;
}

interface Adjustments {
  /** A given map. */
  adjustedMap(map: Raster, source: string, given: object): Raster;
  /** An estimate. */
  normalizedMap(inverse: Raster, width: number, height: number, source: string, given: object): Raster;
}

const module = new URL("../../../../../mflux-depth/dist/src/depth/adjustments.js", import.meta.url);

export const { adjustedMap, normalizedMap } = (await import(module.href)) as Adjustments;
