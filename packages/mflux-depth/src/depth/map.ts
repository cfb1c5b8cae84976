/*
 * What is done to a depth map once it is there: brought to a range, looked at for its polarity, coloured, written.
 * Maps are one channel; in the results near is 1 (white), far is 0 (black).
 */
import { ImageError, OptionError, type Warning } from "../errors.js";
import { bilinear, type Pixels, resize } from "../images/resample.js";

/** How a map is brought to its range. */
export interface MapAdjustments {
  /** The percentile of inverse depth that becomes white; what is nearer is white too (default 100). */
  readonly near?: number | undefined;
  /** The percentile of inverse depth that becomes black; what is farther is black too (default 0). */
  readonly far?: number | undefined;
  /** Above 1 the far parts get more of the range, below 1 the near ones (default 1). */
  readonly gamma?: number | undefined;
  /** Far is white (default false). */
  readonly invert?: boolean | undefined;
}

/**
 * Refuses adjustments that cannot be.
 * @throws {OptionError}
 */
export function checkAdjustments({ near = 100, far = 0, gamma = 1 }: MapAdjustments): void {
  for (const [name, value] of [
    ["near", near],
    ["far", far],
  ] as const)
    if (!(value >= 0 && value <= 100))
      throw new OptionError(name, `${name} must be a percentile, a number from 0 to 100, not ${value}.`);
  if (far >= near)
    throw new OptionError(
      "near",
      `near (${near}) must be a higher percentile than far (${far}): near is white.`,
    );
  if (!(gamma >= 0.01 && gamma <= 100))
    throw new OptionError("gamma", `gamma must be a number from 0.01 to 100, not ${gamma}.`);
}

/**
 * The range that adjustments take of the values: the smallest and the largest when no percentiles are named.
 * @throws {ImageError} when nothing lies between: such a map shows no depth.
 */
export function rangeOf(
  values: Float32Array,
  source: string,
  { near = 100, far = 0 }: MapAdjustments = {},
): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  if (near === 100 && far === 0)
    for (const value of values) {
      if (value < min) min = value;
      if (value > max) max = value;
    }
  else {
    const sorted = values.slice().sort();
    [min, max] = [percentile(sorted, far), percentile(sorted, near)];
  }
  if (!(max > min))
    throw new ImageError(
      source,
      near === 100 && far === 0
        ? "the same depth was found everywhere, so there is no map to be made; try another photo."
        : `nothing lies between the percentiles ${far} and ${near} of the depth; take them farther apart.`,
    );
  return { min, max };
}

/** Between neighbours linearly, as numpy does it. */
function percentile(sorted: Float32Array, percent: number): number {
  const position = (percent / 100) * (sorted.length - 1);
  const low = Math.floor(position);
  const [a, b] = [sorted[low]!, sorted[Math.min(low + 1, sorted.length - 1)]!];
  return a + (b - a) * (position - low);
}

/**
 * Brings inverse depth to 0..1 and a size, near is 1: normalized over the range of the whole map, resized once
 * (bilinear, antialiased where it shrinks), all on floats.
 * @param prediction inverse depth, one channel
 * @throws {ImageError} when the map is constant.
 */
export function normalizedMap(
  prediction: Pixels,
  width: number,
  height: number,
  source: string,
  adjustments: MapAdjustments = {},
): Pixels {
  const { gamma = 1, invert = false } = adjustments;
  const { min, max } = rangeOf(prediction.data, source, adjustments);
  const scaled = prediction.data.map((value) => (value - min) / (max - min));
  const map = resize({ ...prediction, data: scaled }, width, height, bilinear);
  // Rounding, and percentiles, leave values outside.
  const data = map.data.map((value) => {
    const inside = Math.min(Math.max(value, 0), 1);
    const bent = gamma === 1 ? inside : inside ** (1 / gamma);
    return invert ? 1 - bent : bent;
  });
  return { ...map, data };
}

// ---------------------------------------------------------------- polarity

/** Side to which maps are brought for a look at the whole. */
const glance = 32;

const atAGlance = (map: Pixels): Float32Array => resize(map, glance, glance, bilinear).data;

/**
 * Whether a map given by the user seems to have far in white, where near should be: with the depth that was inferred
 * from a photo of the same scene, when they go against each other; without, when the borders are brighter than the
 * middle over most of the picture.
 * @param map one channel, any range
 * @param known.inferred one channel, near is white
 * @param known.exchanged whether near and far have been exchanged already, as the user asked
 * @returns a warning that says how to put it right, or null.
 */
export function polarityWarning(
  map: Pixels,
  source: string,
  { inferred, exchanged = false }: { inferred?: Pixels | undefined; exchanged?: boolean } = {},
): Warning | null {
  const values = atAGlance(map);
  const remedy = exchanged
    ? "near must be white: if the file has it so, leave out invertDepth"
    : "near must be white: if it is inverted, set invertDepth, or invert the file";
  const remedies = exchanged
    ? [{ kind: "omit-option", option: "invertDepth" } as const]
    : [{ kind: "set-option", option: "invertDepth", value: true } as const];
  if (inferred) {
    if (covariance(values, atAGlance(inferred)) >= 0) return null;
    return {
      message: `${source} goes against the depth of the photo, far seems to be white; ${remedy}.`,
      remedies,
    };
  }
  if (!farLooksWhite(values)) return null;
  return {
    message: `${source} is brighter at its borders than in the middle, far seems to be white; ${remedy}.`,
    remedies,
  };
}

/** Its sign is that of the correlation. */
function covariance(a: Float32Array, b: Float32Array): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  return mean(a.map((value, i) => (value - meanA) * (b[i]! - meanB)));
}

const mean = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
};

/**
 * In most pictures what is near stands in the middle and at the bottom. So: a line across is suspicious when its ends
 * are brighter than its middle, a line down when its top is (at its bottom the ground comes near), and the picture
 * when most lines are and the upper half is the brighter one.
 */
function farLooksWhite(values: Float32Array): boolean {
  const lines = Array.from({ length: glance }, (_, i) => i);
  const [edge, inner] = [glance / 8, glance / 4];
  const middle = (line: number[]): number => mean(line.slice(inner, -inner));
  const across = lines.map((y) => lines.map((x) => values[y * glance + x]!));
  const down = lines.map((x) => lines.map((y) => values[y * glance + x]!));
  const suspicious =
    across.filter((line) => mean([...line.slice(0, edge), ...line.slice(-edge)]) > middle(line)).length +
    down.filter((line) => mean(line.slice(0, edge)) > middle(line)).length;
  const half = values.length / 2;
  const topBrighter = mean(values.subarray(0, half)) > mean(values.subarray(half));
  return topBrighter && suspicious > glance;
}

/** The map with near and far exchanged, over the range of its values. */
export function invertMap<T extends Pixels>(map: T): T {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of map.data) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { ...map, data: map.data.map((value) => min + (max - value)) };
}

// ---------------------------------------------------------------- pictures and arrays

/** 0..1 as 8 or 16 bits, rounded. */
export function toLevels({ data }: Pixels, bits: 8 | 16): Uint8Array | Uint16Array {
  const largest = 2 ** bits - 1;
  const levels = bits === 8 ? new Uint8Array(data.length) : new Uint16Array(data.length);
  for (let i = 0; i < levels.length; i++) levels[i] = Math.round(data[i]! * largest);
  return levels;
}

/**
 * 0..1 as RGB to look at, from dark violet (far) over blue and green to yellow (near). The colours lie on a path of
 * evenly rising lightness in OKLab (B. Ottosson, "A perceptual color space for image processing", 2020), so equal
 * steps of depth look equally large.
 */
export function toColours(map: Pixels): Uint8Array {
  const out = new Uint8Array(map.data.length * 3);
  for (const [i, value] of map.data.entries()) {
    const shade = Math.round(value * (shades - 1)) * 3;
    out.set(palette().subarray(shade, shade + 3), i * 3);
  }
  return out;
}

const shades = 1024;
let cachedPalette: Uint8Array | null = null;

function palette(): Uint8Array {
  cachedPalette ??= Uint8Array.from(
    Array.from({ length: shades }, (_, i) => colourOf(i / (shades - 1))).flat(),
  );
  return cachedPalette;
}

function colourOf(value: number): number[] {
  const lightness = 0.2 + 0.73 * value;
  const hue = ((305 - 200 * value) * Math.PI) / 180;
  // As much colour as the screen can show at this lightness, up to a limit.
  for (let chroma = 0.16; ; chroma -= 0.002) {
    const rgb = fromOklab(lightness, chroma * Math.cos(hue), chroma * Math.sin(hue));
    if (chroma <= 0 || rgb.every((c) => c >= 0 && c <= 1))
      return rgb.map((c) => Math.round(255 * toSrgb(Math.min(Math.max(c, 0), 1))));
  }
}

/** OKLab to linear sRGB. */
function fromOklab(lightness: number, a: number, b: number): [number, number, number] {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

const toSrgb = (linear: number): number =>
  linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;

/** A two-dimensional array as a NumPy file: version 1.0, little-endian float32, rows first. */
export function toNpy(data: Float32Array, width: number, height: number): Uint8Array {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`;
  // The magic, the version and the length take ten bytes; the header ends with a newline at a multiple of 64.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length + 4 * data.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  view.setUint16(8, length, true);
  bytes.set(new TextEncoder().encode(`${dictionary.padEnd(length - 1)}\n`), 10);
  for (const [i, value] of data.entries()) view.setFloat32(10 + length + 4 * i, value, true);
  return bytes;
}
