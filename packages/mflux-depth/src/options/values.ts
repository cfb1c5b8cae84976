/** Pixels, row by row, channels interleaved: `data` has `height × width × channels` values. */
export interface RawImage {
  /** 8-bit values are 0 to 255, 16-bit values 0 to 65535, floats 0 to 1. */
  readonly data: Uint8Array | Uint8ClampedArray | Uint16Array | Float32Array;
  readonly width: number;
  readonly height: number;
  /** 1: grey; 2: grey and alpha; 3: RGB; 4: RGB and alpha. Alpha is not premultiplied. */
  readonly channels: number;
}

/** An image: the path of a file, the bytes of an encoded file, or pixels. */
export type ImageInput = string | Uint8Array | RawImage;

/** Values row by row, with the size of each axis. */
export interface ShapedTensor {
  readonly data: Float32Array;
  /** Its product is the number of values. */
  readonly shape: readonly number[];
}

/** A tensor: with its shape, or only its values if the option determines the shape. */
export type TensorInput = Float32Array | ShapedTensor;

/** A LoRA: a file, a folder with one, or a repository, in which `:` precedes the name of the file. */
export interface AdapterReference {
  readonly source: string;
  /** The strength, of either sign; 1 when absent. */
  readonly scale?: number | null | undefined;
}

/** A LoRA, alone or with its strength. */
export type AdapterInput = string | AdapterReference;

/** A model as NodeTool and other hosts name it. */
export interface ModelReference {
  /** A Hub repository, a folder, or "tiny-world". */
  readonly repo_id: string;
  /** The model's folder in the repository. */
  readonly path?: string | null | undefined;
  readonly variant?: string | null | undefined;
  /** Patterns of Python's fnmatch: of the files that the model needs, only these are downloaded. */
  readonly allow_patterns?: readonly string[] | null | undefined;
  /** Files that match one of these patterns are not downloaded. */
  readonly ignore_patterns?: readonly string[] | null | undefined;
  /** NodeTool's name for the kind of model; ignored. */
  readonly type?: string | undefined;
}
