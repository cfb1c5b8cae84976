/** A guess at what a picture is. */
export interface PictureKind {
  readonly kind: "photo" | "depth";
  /** 0.5 for a guess, up to 1 for certainty. */
  readonly confidence: number;
}

/** Pixels of a picture at its own resolution: RGBA, 8 bits each, row by row. */
export interface Pixels {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A pixel is coloured if its channels differ by more than JPEG's rounding explains. */
const colourless = 12;

/** A pixel is textured if it differs from the mean of its four neighbours by more than this, of 255. */
const even = 1.5;

/**
 * Distinguishes depth maps from photos. A map is grey, smooth except at outlines, and often has 16 bits; a
 * black-and-white photo has texture and grain everywhere.
 * @param header the first 26 bytes of the file or more
 */
export function kindOf(pixels: Pixels, header: Uint8Array): PictureKind {
  const { coloured, textured } = measure(pixels);
  // Log-odds of being a map; the weights separate black-and-white photos from 8-bit maps by several units.
  const odds = isDeepGreyPng(header)
    ? 4
    : Math.min(4, 25 * (0.2 - textured)) - Math.min(12, 200 * Math.max(coloured - 0.01, 0));
  return { kind: odds > 0 ? "depth" : "photo", confidence: 1 / (1 + Math.exp(-Math.abs(odds))) };
}

/** The shares of coloured and of textured pixels. */
function measure({ data, width, height }: Pixels): { coloured: number; textured: number } {
  let [coloured, textured] = [0, 0];
  const luma = (at: number): number => data[at]! * 0.299 + data[at + 1]! * 0.587 + data[at + 2]! * 0.114;
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      const at = 4 * (y * width + x);
      const [r, g, b] = [data[at]!, data[at + 1]!, data[at + 2]!];
      if (Math.max(r, g, b) - Math.min(r, g, b) > colourless) coloured++;
      const around = luma(at - 4) + luma(at + 4) + luma(at - 4 * width) + luma(at + 4 * width);
      if (Math.abs(luma(at) - around / 4) > even) textured++;
    }
  const count = Math.max((width - 2) * (height - 2), 1);
  return { coloured: coloured / count, textured: textured / count };
}

/** Whether a file is a PNG with a single 16-bit grey channel, a format that is rare for photos. */
function isDeepGreyPng(header: Uint8Array): boolean {
  const isPng = [0x89, 0x50, 0x4e, 0x47].every((byte, i) => header[i] === byte);
  const [bits, colourType] = [header[24], header[25]];
  return isPng && bits === 16 && colourType === 0;
}
