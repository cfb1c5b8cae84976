import exifReader from "exif-reader";
import type { DecodedImage } from "../images/types.js";

/** Diagonal of 35 mm film, in millimetres. */
const filmDiagonal = Math.hypot(36, 24);

/** EXIF's units of length in millimetres: inch, centimetre. */
const unitInMillimetres: Readonly<Record<number, number>> = { 2: 25.4, 3: 10 };

/**
 * Reads a photo's focal length from its EXIF block: from the equivalent on 35 mm film, or from the lens and the density
 * of the sensor. The focal length of the lens alone does not suffice, because the sensor's size is missing.
 * @returns pixels of the photo; undefined if EXIF lacks the values
 */
export function exifFocalLength({
  exif,
  original: { width, height },
}: Pick<DecodedImage, "exif" | "original">): number | undefined {
  if (!exif) return undefined;
  try {
    const { Photo: tags } = exifReader(Buffer.from(exif));
    if (!tags) return undefined;
    const positive = (value: unknown): number | undefined =>
      typeof value === "number" && Number.isFinite(value) && value > 0 ? value : undefined;
    const onFilm = positive(tags.FocalLengthIn35mmFilm);
    if (onFilm !== undefined) return (onFilm * Math.hypot(width, height)) / filmDiagonal;
    const lens = positive(tags.FocalLength);
    const density = positive(tags.FocalPlaneXResolution);
    const unit = unitInMillimetres[positive(tags.FocalPlaneResolutionUnit) ?? 2];
    // The density refers to the original photo, which may have been resized or rotated since.
    const taken = Math.max(positive(tags.PixelXDimension) ?? 0, positive(tags.PixelYDimension) ?? 0);
    if (lens === undefined || density === undefined || unit === undefined || taken === 0) return undefined;
    return (((lens * density) / unit) * Math.max(width, height)) / taken;
  } catch {
    // A damaged block counts as missing.
    return undefined;
  }
}

/**
 * Converts a horizontal field of view to a focal length.
 * @param degrees the field of view
 * @param width of the photo, in pixels
 * @returns pixels of the photo; undefined when no lens has that field of view
 */
export function focalLengthFromFieldOfView(degrees: number, width: number): number | undefined {
  if (!(degrees > 0 && degrees < 180)) return undefined;
  return (0.5 * width) / Math.tan((0.5 * degrees * Math.PI) / 180);
}
