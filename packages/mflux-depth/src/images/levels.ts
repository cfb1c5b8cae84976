import { ImageError } from "../errors.js";
import { extremesOf } from "./extremes.js";

/*
 * Converts pixels to raster values as they arrive, so that they are never held twice. Values stay at the levels of the
 * pixels (0 to 255, 65535 or 1) until the end: integers are exact, so a level survives decoding and encoding.
 */

/** The layout of pixels: their number, 1 to 4 channels (alpha last, not premultiplied), and the level of white. */
export interface PixelLayout {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly white: number;
}

/** Takes pixels in order, row by row. */
export interface LevelSink {
  /** @param pixels whole pixels, channels interleaved */
  write(pixels: ArrayLike<number>): void;
}

/** Collects the RGB levels of a photo, with transparent parts on white. */
export class PhotoLevels implements LevelSink {
  readonly #layout: PixelLayout;
  readonly #data: Float32Array;
  #filled = 0;

  constructor(layout: PixelLayout) {
    this.#layout = layout;
    this.#data = new Float32Array(layout.width * layout.height * 3);
  }

  write(pixels: ArrayLike<number>): void {
    const { channels, white } = this.#layout;
    const data = this.#data;
    const colours = channels < 3 ? 1 : 3;
    const hasAlpha = channels % 2 === 0;
    let o = this.#filled;
    for (let i = 0; i < pixels.length; i += channels) {
      const alpha = hasAlpha ? pixels[i + colours]! / white : 1;
      for (let c = 0; c < 3; c++) {
        const level = pixels[i + (colours === 3 ? c : 0)]!;
        data[o++] = level * alpha + white * (1 - alpha);
      }
    }
    this.#filled = o;
  }

  /** @returns RGB in [0, 1]. */
  finish(): Float32Array {
    return toUnitRange(this.#data, this.#layout.white);
  }
}

/** Counts the coloured pixels of an image that should be grey. */
class ColourCount {
  readonly #tolerated: number;
  #coloured = 0;

  /** @param white the highest value. */
  constructor(white: number) {
    // JPEG leaves traces of colour in grey images.
    this.#tolerated = (16 / 255) * white;
  }

  add(r: number, g: number, b: number): void {
    if (r === g && g === b) return;
    if (Math.max(r, g, b) - Math.min(r, g, b) > this.#tolerated) this.#coloured++;
  }

  /** Whether more than 1 % of the pixels are coloured. */
  exceeds(pixels: number): boolean {
    return this.#coloured > pixels / 100;
  }
}

/** Collects the luminance of a depth map, which must be opaque. */
export class MapLevels implements LevelSink {
  readonly #layout: PixelLayout;
  readonly #name: string;
  readonly #data: Float32Array;
  readonly #colours: ColourCount;
  #filled = 0;

  /** @param name names the map in messages */
  constructor(layout: PixelLayout, name: string) {
    this.#layout = layout;
    this.#name = name;
    this.#data = new Float32Array(layout.width * layout.height);
    this.#colours = new ColourCount(layout.white);
  }

  /** @throws {ImageError} when a pixel is transparent. */
  write(pixels: ArrayLike<number>): void {
    const { channels, white } = this.#layout;
    const data = this.#data;
    const [green, blue] = channels < 3 ? [0, 0] : [1, 2];
    const alpha = channels % 2 === 0 ? channels - 1 : null;
    let o = this.#filled;
    for (let i = 0; i < pixels.length; i += channels) {
      if (alpha !== null && pixels[i + alpha]! < white)
        throw new ImageError(
          this.#name,
          "has transparent parts, which say nothing about depth; save the map without transparency.",
        );
      const r = pixels[i]!;
      const g = pixels[i + green]!;
      const b = pixels[i + blue]!;
      data[o++] = luminance(r, g, b);
      this.#colours.add(r, g, b);
    }
    this.#filled = o;
  }

  /** Whether more than 1 % of the pixels are coloured. */
  get isColoured(): boolean {
    return this.#colours.exceeds(this.#data.length);
  }

  /**
   * @returns luminance in [0, 1].
   * @throws {ImageError} when all values are equal.
   */
  finish(): Float32Array {
    const data = this.#data;
    const { min, max } = extremesOf(data);
    if (min === max)
      throw new ImageError(this.#name, "every pixel has the same value, so the map shows no depth.");
    return toUnitRange(data, this.#layout.white);
  }
}

/** Collects the luminance of a mask; transparent parts are white. */
export class MaskLevels implements LevelSink {
  readonly #layout: PixelLayout;
  readonly #name: string;
  readonly #data: Float32Array;
  readonly #colours: ColourCount;
  #filled = 0;

  /** @param name names the mask in messages */
  constructor(layout: PixelLayout, name: string) {
    this.#layout = layout;
    this.#name = name;
    this.#data = new Float32Array(layout.width * layout.height);
    this.#colours = new ColourCount(layout.white);
  }

  write(pixels: ArrayLike<number>): void {
    const { channels, white } = this.#layout;
    const [green, blue] = channels < 3 ? [0, 0] : [1, 2];
    const hasAlpha = channels % 2 === 0;
    let o = this.#filled;
    for (let i = 0; i < pixels.length; i += channels) {
      const alpha = hasAlpha ? pixels[i + channels - 1]! / white : 1;
      const r = pixels[i]!;
      const g = pixels[i + green]!;
      const b = pixels[i + blue]!;
      this.#data[o++] = luminance(r, g, b) * alpha + white * (1 - alpha);
      if (alpha > 0) this.#colours.add(r, g, b);
    }
    this.#filled = o;
  }

  /** Whether more than 1 % of the pixels are coloured. */
  get isColoured(): boolean {
    return this.#colours.exceeds(this.#data.length);
  }

  /**
   * @returns luminance in [0, 1].
   * @throws {ImageError} when all values are 0.
   */
  finish(): Float32Array {
    if (extremesOf(this.#data).max <= 0)
      throw new ImageError(
        this.#name,
        "is black everywhere, so nothing would change; paint white the parts that should change.",
      );
    return toUnitRange(this.#data, this.#layout.white);
  }
}

/** Pillow's weights. Equal channels keep their exact value. */
const luminance = (r: number, g: number, b: number): number =>
  r === g && g === b ? r : (r * 19595 + g * 38470 + b * 7471) / 65536;

/** Divides levels by the level of white, in place. */
function toUnitRange(data: Float32Array, white: number): Float32Array {
  if (white !== 1) for (let i = 0; i < data.length; i++) data[i] = data[i]! / white;
  return data;
}
