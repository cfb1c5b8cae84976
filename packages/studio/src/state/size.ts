/* The size of the image: from the picture's aspect ratio, a preset, or numbers. */

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** What the person chose. `auto` follows the picture. */
export type SizeChoice =
  | { readonly mode: "auto" }
  | { readonly mode: "ratio"; readonly ratio: Ratio }
  | { readonly mode: "custom"; readonly width: number; readonly height: number };

export const ratios = ["1:1", "4:3", "3:2", "16:9", "3:4", "2:3", "9:16"] as const;
export type Ratio = (typeof ratios)[number];

/** Sides are multiples of this. */
export const grid = 16;

/** The multiple that is closest to a side in pixels. */
export const toGrid = (side: number): number => Math.max(grid, Math.round(side / grid) * grid);

/** The size closest to an area with the given aspect ratio and sides that are multiples of 16. */
export function sizeOf(proportion: number, area: number): Size {
  const width = toGrid(Math.sqrt(area * proportion));
  return { width, height: toGrid(Math.sqrt(area / proportion)) };
}

export function proportionOf(ratio: Ratio): number {
  const [width, height] = ratio.split(":").map(Number);
  return width! / height!;
}

/** The size of the image for a choice, a picture (null: square) and an area in pixels. */
export function chosenSize(choice: SizeChoice, picture: Size | null, area: number): Size {
  switch (choice.mode) {
    case "auto":
      return sizeOf(picture ? picture.width / picture.height : 1, area);
    case "ratio":
      return sizeOf(proportionOf(choice.ratio), area);
    case "custom":
      return { width: toGrid(choice.width), height: toGrid(choice.height) };
  }
}

/**
 * Whether a picture has to be cropped or padded for a size. If the difference is only the rounding to multiples of 16,
 * the picture is stretched slightly instead.
 */
export function needsFrame(picture: Size, { width, height }: Size): boolean {
  const stretch = picture.width / picture.height / (width / height);
  const rounding = (1 + grid / 2 / width) * (1 + grid / 2 / height);
  return stretch > rounding || stretch < 1 / rounding;
}
