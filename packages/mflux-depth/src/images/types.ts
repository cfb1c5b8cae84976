/** Float32 values on a grid of pixels: row by row, channels interleaved. */
export interface Raster {
  /** `height · width · channels` values. */
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** An image: a raster of values in [0, 1], from black to white. One channel is grey, three are RGB. */
export type FloatImage = Raster;

/** An image with its origin. */
export interface DecodedImage extends FloatImage {
  /** The file's path, or a label if there is none. */
  readonly source: string;
  /** The size of the source, in pixels, upright; very large images are reduced during reading. */
  readonly original: { readonly width: number; readonly height: number };
  /** Of the file's bytes, or of the pixels and their layout if there was no file. */
  readonly sha256: string;
  /** The file's EXIF block. */
  readonly exif?: Uint8Array;
  /** Sentences for the user. */
  readonly warnings: readonly string[];
}
