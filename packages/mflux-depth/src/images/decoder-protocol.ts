import type { SerializedError } from "../errors.js";
import type { Purpose } from "./encoded.js";

/** What the decoder's process is asked. Encoded bytes without a path follow on its standard input. */
export interface DecodeOrder {
  readonly path: string | null;
  /** What messages call the image. */
  readonly name: string;
  readonly purpose: Purpose;
}

/** What is known of an image once it is decoded; its pixels follow on standard output. */
export interface DecodedHeader {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** Two bytes for each value, in the machine's order. */
  readonly deep: boolean;
  /** The size of the image in the file, upright. */
  readonly original: { readonly width: number; readonly height: number };
  readonly sha256: string;
  readonly exif: Uint8Array | undefined;
}

export type FromDecoder =
  | { readonly type: "header"; readonly header: DecodedHeader }
  | { readonly type: "error"; readonly error: SerializedError };
