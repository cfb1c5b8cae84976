import type { SerializedError } from "../errors.js";
import type { ImageRole } from "./encoded.js";

/** A request to the decoder's process. */
export interface DecodeOrder {
  /** A path, or the number of encoded bytes that follow on standard input. */
  readonly input: string | number;
  /** The image's name in messages. */
  readonly name: string;
  readonly role: ImageRole;
}

/** The facts about a decoded image; its pixels follow on standard output. */
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
