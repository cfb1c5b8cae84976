import { MlxError, type MxArray, SafetensorsError } from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";

/** A tensor as a file stores it. */
export interface StoredTensor {
  /** The dtype under safetensors' name: "F32", "BF16", "U32", … */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Its size in the file. */
  readonly bytes: number;
}

/** The weight files of one component, which are in one folder of a repository. */
export interface Checkpoint {
  /** The file, or the folder of shards. */
  readonly source: string;
  /** The files that hold tensors. */
  readonly files: readonly string[];
  /** The file of each tensor. */
  readonly fileOf: ReadonlyMap<string, string>;
  /** Dtype, shape and size of each tensor. */
  readonly entries: ReadonlyMap<string, StoredTensor>;
  /** The metadata of the files and of their index. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Size of all tensors in the files. */
  readonly bytes: number;
  /** The maximum number of bytes that one tensor takes while being read, if more than its size in the file. */
  readonly largest?: number;
  /** Whether its quantized matrices come from blocks in the file, so that nothing is left to quantize. */
  readonly hasQuantizedBlocks?: boolean;
  /**
   * Yields the tensors with their names, lazily, file by file in the order of their bytes. Yielded tensors belong to
   * the consumer; the others are freed when the iteration ends.
   */
  tensors(): Generator<readonly [string, MxArray], void>;
}

/** The ModelError for an error of MLX or of a file header; other errors unchanged. */
export function asModelError(file: string, error: unknown): unknown {
  if (error instanceof SafetensorsError) return new ModelError(error.path, error.reason, { cause: error });
  if (!(error instanceof MlxError)) return error;
  return new ModelError(file, `the weights cannot be read (${error.message})`, { cause: error });
}
