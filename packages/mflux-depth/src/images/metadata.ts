/*
 * The parameters of an image as JSON: in EXIF's UserComment, and in a sidecar file next to the image. Names are those of
 * mflux where it has one. Tools for mflux can therefore read our images, and we read images that mflux wrote.
 */
import exifReader from "exif-reader";
import { isRecord } from "../record.js";
import type { Fit } from "./fit.js";

/** The parameters that an image was generated from. `null` means unused or unknown. */
export interface PictureParameters {
  readonly mflux_depth_version: string;
  readonly model: string;
  /** The commit of the model's repository. */
  readonly revision: string | null;
  readonly prompt: string;
  /** `null` when the request brought its own noise. */
  readonly seed: number | null;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly max_sequence_length: number;
  readonly quantize: number | null;
  /** Whether quantized weights were multiplied by inputs rounded to 8 bits. */
  readonly int8: boolean;
  /** "float32", "bfloat16", "float16". */
  readonly precision: string;
  readonly device: string;
  /** LoRAs: files by name, repositories with the file after a colon. */
  readonly lora_paths: readonly string[];
  readonly lora_scales: readonly number[];
  readonly lora_sha256: readonly string[];
  /** The file's name. */
  readonly image_path: string | null;
  readonly image_sha256: string | null;
  readonly image_strength: number | null;
  /** The file's name. */
  readonly mask_image_path: string | null;
  readonly mask_image_sha256: string | null;
  /** The file's name; `null` when the depth was estimated from the photo. */
  readonly depth_image_path: string | null;
  readonly depth_image_sha256: string | null;
  /** Whether the depth map was inverted. */
  readonly depth_inverted: boolean;
  /** The percentile of the depth map that became white. */
  readonly depth_near: number;
  /** The percentile of the depth map that became black. */
  readonly depth_far: number;
  readonly depth_gamma: number;
  /** How strongly the depth map guided, 0 to 1. */
  readonly depth_strength: number;
  /** The shares of the steps between which it guided. */
  readonly depth_start: number;
  readonly depth_stop: number;
  /** How the photo and the depth map were fitted to the image's proportions. */
  readonly fit: Fit;
  readonly depth_source: "map" | "photo";
  readonly depth_model: string | null;
  /** How faithfully the image keeps the depth map, if it was scored. */
  readonly fidelity: PictureFidelity | null;
  readonly mlx_version: string;
  /** Seconds of all stages, excluding the reading of weights. */
  readonly generation_time_seconds: number;
  /** Seconds of each stage. */
  readonly stage_seconds: Readonly<Record<string, number>>;
  /** ISO 8601, UTC. */
  readonly created_at: string;
}

/** The score of an image, and its place among the images that it was compared with. */
export interface PictureFidelity {
  readonly rmse: number;
  readonly correlation: number;
  readonly abs_rel: number;
  readonly edge_f1: number;
  /** The judging depth estimator. */
  readonly depth_model: string;
  /** 1 for the best; missing if the image was written before the others were scored. */
  readonly rank?: number;
  readonly candidates?: number;
}

/**
 * The maximum size of a comment in bytes. EXIF blocks are limited to 65,535; the difference leaves room for other
 * fields.
 */
const commentBytes = 60_000;

/**
 * Formats parameters for EXIF's UserComment: JSON in ASCII with other characters escaped, because readers disagree
 * about the charset. A prompt that would not fit is cut, and `prompt_cut` says so; the sidecar has the whole prompt.
 */
export function toComment(parameters: PictureParameters): string {
  const whole = asciiJson(parameters);
  if (whole.length <= commentBytes) return whole;
  const spare = commentBytes - asciiJson({ ...parameters, prompt: "", prompt_cut: true }).length;
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

/** Formats parameters for the sidecar file. */
export const toSidecar = (parameters: PictureParameters): string =>
  `${JSON.stringify(parameters, null, 2)}\n`;

/** The path of an image's sidecar, named as in mflux: `image.png` → `image.metadata.json`. */
export const sidecarPath = (image: string): string => `${image.replace(/\.[^./\\]*$/, "")}.metadata.json`;

/**
 * Reads the parameters from an image's EXIF block.
 * @returns `undefined` when the block has none, or is damaged.
 */
export function readParameters(exif: Uint8Array | undefined): Record<string, unknown> | undefined {
  if (!exif) return undefined;
  try {
    const { Photo, bigEndian } = exifReader(Buffer.from(exif));
    const comment: unknown = Photo?.UserComment;
    if (!(comment instanceof Uint8Array)) return undefined;
    const value: unknown = JSON.parse(decodeComment(comment, bigEndian));
    return isRecord(value) ? value : undefined;
  } catch {
    // The block is damaged, or the comment is not JSON: another program wrote it.
    return undefined;
  }
}

/** Decodes a UserComment: eight bytes name its charset, followed by the text. "ASCII" is UTF-8 in practice. */
function decodeComment(comment: Uint8Array, bigEndian: boolean): string {
  const charset = String.fromCharCode(...comment.subarray(0, 8));
  const text = comment.subarray(8);
  const decoder = charset.startsWith("UNICODE")
    ? new TextDecoder(bigEndian ? "utf-16be" : "utf-16le")
    : new TextDecoder();
  return decoder.decode(text).replace(/\0+$/, "");
}

/** The maximum nesting: far deeper than parameters, and far shallower than the stack allows. */
export const mostLevels = 100;

/** Whether objects and lists are nested too deeply for recursion. */
export function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; depth <= mostLevels; depth++) {
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
    if (level.length === 0) return false;
  }
  return true;
}
