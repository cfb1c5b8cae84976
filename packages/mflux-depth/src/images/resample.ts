import type { Raster } from "./types.js";

/*
 * Resizing as the references do it, on floats, for any number of channels. Image libraries differ here by up to 8
 * levels of 255, so these kernels are our own. They do not depend on Node: the studio's page bundles them.
 *
 * Pillow: src/libImaging/Resample.c, in its mode F (coefficients and sums in double precision, float32 between the
 * passes). PyTorch: aten/native/cpu/UpSampleKernel.cpp, `interpolate(mode="bilinear",
 * align_corners=False, antialias=False)`.
 */

/** A reconstruction filter: its value at a distance in source pixels; zero beyond `support`. */
export interface Filter {
  readonly support: number;
  readonly at: (distance: number) => number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Lanczos with three lobes. */
export const lanczos: Filter = {
  support: 3,
  at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0),
};

/** Cubic convolution with a = −0.5. */
export const bicubic: Filter = {
  support: 2,
  at: (distance) => {
    const x = Math.abs(distance);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
  },
};

/** A triangle of one pixel on each side. */
export const bilinear: Filter = { support: 1, at: (x) => Math.max(1 - Math.abs(x), 0) };

/**
 * Resizes like Pillow: the filter widens when the image shrinks (antialiasing). A filter's negative lobes may take values
 * out of the source's range; the caller clamps.
 * @returns `width × height` pixels; the source itself if it has that size
 */
export function resize(source: Raster, width: number, height: number, filter: Filter): Raster {
  if (source.width === width && source.height === height) return source;
  const { raster, take } = emptyRaster(width, height, source.channels);
  const work = resizing(source, width, height, filter, take);
  while (!work.next().done);
  return raster;
}

/** Receives a row of an image, which the next row overwrites. */
export type TakeRow = (row: Float32Array, y: number) => void;

/** A raster to fill row by row. */
export function emptyRaster(
  width: number,
  height: number,
  channels: number,
): { readonly raster: Raster; readonly take: TakeRow } {
  const data = new Float32Array(width * height * channels);
  const take: TakeRow = (row, y) => data.set(row, y * width * channels);
  return { raster: { data, width, height, channels }, take };
}

/** Delivers the resized rows one after another; yields after each row of each pass. */
export function* resizing(
  source: Raster,
  width: number,
  height: number,
  filter: Filter,
  take: TakeRow,
): Generator<void, void, void> {
  // The axis that shrinks more goes first, as in Pillow 13 (12 starts with the horizontal one; the last bit differs).
  const columnsFirst = height / source.height < width / source.width;
  const [first, second] = columnsFirst ? [resizeColumns, resizeRows] : [resizeRows, resizeColumns];
  const between = columnsFirst ? { width: source.width, height } : { width, height: source.height };
  let halfway = source;
  if (between.width !== source.width || between.height !== source.height) {
    const empty = emptyRaster(between.width, between.height, source.channels);
    yield* first(source, between, filter, empty.take);
    halfway = empty.raster;
  }
  yield* second(halfway, { width, height }, filter, take);
}

/** For each output pixel: the first source pixel that it covers, and the weights from there. */
function weightsOf(from: number, to: number, filter: Filter): { first: number; weights: Float64Array }[] {
  const scale = from / to;
  const widening = Math.max(scale, 1);
  const support = filter.support * widening;
  const inverse = 1 / widening;
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), from);
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let x = 0; x < weights.length; x++)
      sum += weights[x] = filter.at((x + first - center + 0.5) * inverse);
    if (sum !== 0) for (let x = 0; x < weights.length; x++) weights[x] = weights[x]! / sum;
    return { first, weights };
  });
}

type Size = Pick<Raster, "width" | "height">;

/** Delivers the rows of an image unchanged. */
function* copyRows({ data, width, height, channels }: Raster, take: TakeRow): Generator<void, void, void> {
  const stride = width * channels;
  for (let y = 0; y < height; y++) {
    take(data.subarray(y * stride, (y + 1) * stride), y);
    yield;
  }
}

/** Resizes each row to a width. */
function* resizeRows(
  source: Raster,
  { width }: Size,
  filter: Filter,
  take: TakeRow,
): Generator<void, void, void> {
  const { data, height, channels } = source;
  if (source.width === width) return yield* copyRows(source, take);
  const columns = weightsOf(source.width, width, filter);
  const out = new Float32Array(width * channels);
  for (let y = 0; y < height; y++) {
    const row = y * source.width * channels;
    let o = 0;
    for (const { first, weights } of columns)
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        let i = row + first * channels + c;
        for (let k = 0; k < weights.length; k++, i += channels) sum += data[i]! * weights[k]!;
        out[o++] = sum;
      }
    take(out, y);
    yield;
  }
}

/** Resizes each column to a height. */
function* resizeColumns(
  source: Raster,
  { height }: Size,
  filter: Filter,
  take: TakeRow,
): Generator<void, void, void> {
  const { data, width, channels } = source;
  if (source.height === height) return yield* copyRows(source, take);
  const stride = width * channels;
  const out = new Float32Array(stride);
  const sums = new Float64Array(stride);
  for (const [y, { first, weights }] of weightsOf(source.height, height, filter).entries()) {
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const weight = weights[k]!;
      const row = (first + k) * stride;
      for (let x = 0; x < stride; x++) sums[x] = sums[x]! + data[row + x]! * weight;
    }
    out.set(sums);
    take(out, y);
    yield;
  }
}

/**
 * Resizes like PyTorch: interpolates between the four nearest pixels, with half-pixel centres, without antialiasing, in
 * float32.
 * @param transform applied to each value of the source before it is used; gives a float32
 */
export function interpolate(
  source: Raster,
  width: number,
  height: number,
  transform: (value: number, channel: number) => number = (value) => value,
): Raster {
  const { data, channels } = source;
  const columns = neighbours(source.width, width);
  const rows = neighbours(source.height, height);
  const stride = source.width * channels;
  const out = new Float32Array(width * height * channels);
  const f32 = Math.fround;
  let o = 0;
  for (const { low: top, high: bottom, share: down } of rows) {
    const up = f32(1 - down);
    for (const { low: left, high: right, share: east } of columns) {
      const west = f32(1 - east);
      for (let c = 0; c < channels; c++) {
        const upper = top * stride + c;
        const lower = bottom * stride + c;
        const [toLeft, toRight] = [left * channels, right * channels];
        const a = f32(
          f32(west * transform(data[upper + toLeft]!, c)) + f32(east * transform(data[upper + toRight]!, c)),
        );
        const b = f32(
          f32(west * transform(data[lower + toLeft]!, c)) + f32(east * transform(data[lower + toRight]!, c)),
        );
        out[o++] = f32(up * a) + f32(down * b);
      }
    }
  }
  return { data: out, width, height, channels };
}

/** For each output pixel: the two source pixels around its centre, and the share of the higher one. */
function neighbours(from: number, to: number): { low: number; high: number; share: number }[] {
  const f32 = Math.fround;
  const scale = f32(from / to);
  return Array.from({ length: to }, (_, i) => {
    const at = Math.max(f32(f32(scale * f32(i + 0.5)) - 0.5), 0);
    const low = Math.min(Math.trunc(at), from - 1);
    return { low, high: Math.min(low + 1, from - 1), share: Math.min(Math.max(f32(at - low), 0), 1) };
  });
}
