/*
 * The parameters of a picture, inside it and beside it: JSON in EXIF's UserComment. Names are mflux's where it has
 * one, so that its readers understand ours; pictures that mflux wrote are read as well.
 */
import exifReader from "exif-reader";

/** What a picture was made from. `null`: not used, or not known. */
export interface PictureParameters {
  readonly mflux_depth_version: string;
  readonly model: string;
  /** The commit of the model's repository. */
  readonly revision: string | null;
  readonly prompt: string;
  /** `null` when the noise was given. */
  readonly seed: number | null;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly max_sequence_length: number;
  readonly quantize: number | null;
  /** Whether quantized weights were multiplied with inputs of 8 bits. */
  readonly int8: boolean;
  /** "float32", "bfloat16", "float16". */
  readonly precision: string;
  readonly device: string;
  readonly image_path: string | null;
  readonly image_sha256: string | null;
  readonly image_strength: number | null;
  /** `null` when depth was inferred from the photo. */
  readonly depth_image_path: string | null;
  readonly depth_image_sha256: string | null;
  /** Whether the map's near and far were exchanged. */
  readonly depth_inverted: boolean;
  readonly depth_source: "map" | "photo";
  readonly depth_model: string | null;
  readonly mlx_version: string;
  /** From the request to the pixels, without loading the model. */
  readonly generation_time_seconds: number;
  /** Seconds a stage took. */
  readonly stage_seconds: Readonly<Record<string, number>>;
  /** ISO 8601, UTC. */
  readonly created_at: string;
}

/** EXIF counts a block's bytes in 16 bits; the rest is for the block's other fields. */
const mostBytes = 60_000;

/**
 * The text for EXIF's UserComment: JSON in ASCII, other characters escaped, so that no reader's idea of the charset
 * can harm it. A prompt that would not fit is cut, and `prompt_cut` says so; the sidecar has it whole.
 */
export function toComment(parameters: PictureParameters): string {
  const whole = asciiJson(parameters);
  if (whole.length <= mostBytes) return whole;
  const spare = mostBytes - asciiJson({ ...parameters, prompt: "", prompt_cut: true }).length;
  let used = 0;
  let prompt = "";
  for (const character of parameters.prompt) {
    used += asciiJson(character).length - 2;
    if (used > spare) break;
    prompt += character;
  }
  return asciiJson({ ...parameters, prompt, prompt_cut: true });
}

const asciiJson = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** The text of the sidecar file. */
export const toSidecar = (parameters: PictureParameters): string =>
  `${JSON.stringify(parameters, null, 2)}\n`;

/** `picture.png` → `picture.metadata.json`, as mflux names it. */
export const sidecarPath = (picture: string): string => `${picture.replace(/\.[^./\\]*$/, "")}.metadata.json`;

/**
 * Finds the parameters in a picture's EXIF block.
 * @returns `undefined` when there are none.
 */
export function readParameters(exif: Uint8Array | undefined): Record<string, unknown> | undefined {
  if (!exif) return undefined;
  try {
    const { Photo, bigEndian } = exifReader(Buffer.from(exif));
    const comment: unknown = Photo?.UserComment;
    if (!(comment instanceof Uint8Array)) return undefined;
    const value: unknown = JSON.parse(decodeComment(comment, bigEndian));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    // A damaged block or a comment that is no JSON: a picture without parameters.
    return undefined;
  }
}

/** UserComment begins with eight bytes that name its charset; what is called ASCII is UTF-8 in practice. */
function decodeComment(comment: Uint8Array, bigEndian: boolean): string {
  const charset = String.fromCharCode(...comment.subarray(0, 8));
  const text = comment.subarray(8);
  const decoder = charset.startsWith("UNICODE")
    ? new TextDecoder(bigEndian ? "utf-16be" : "utf-16le")
    : new TextDecoder();
  return decoder.decode(text).replace(/\0+$/, "");
}
