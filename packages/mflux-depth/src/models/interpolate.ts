import { add, array, type MxArray, multiply, take } from "@mflux-depth/mlx";

/*
 * Resizing feature maps without antialiasing, like `torch.nn.functional.interpolate`. Positions and weights are computed
 * in float32, as PyTorch computes them. Maps are `[batch, height, width, channels]`.
 */

/** One of the source positions that each output position along an axis reads, and its weight. */
interface Tap {
  readonly positions: Int32Array;
  readonly weights: Float32Array;
}

/** The taps of one axis, from the sizes before and after. */
type TapsOf = (from: number, to: number) => readonly Tap[];

const f32 = Math.fround;

/** Clamps positions to the map: its edges are repeated. */
const inside = (position: number, size: number): number => Math.min(Math.max(position, 0), size - 1);

/** The two positions around each centre. A centre lies between 0 and `from − 1`, or a little beyond the last position. */
function linearTaps(from: number, centres: Float32Array): readonly Tap[] {
  const low = Int32Array.from(centres, (centre) => inside(Math.floor(centre), from));
  const share = Float32Array.from(centres, (centre, i) => centre - low[i]!);
  return [
    { positions: low, weights: share.map((one) => 1 - one) },
    { positions: low.map((position) => inside(position + 1, from)), weights: share },
  ];
}

/**
 * Half-pixel centres (`align_corners=False`).
 * @param step source pixels per output pixel
 */
const halfPixelCentres = (to: number, step: number): Float32Array =>
  Float32Array.from({ length: to }, (_, i) => f32(f32((i + 0.5) * f32(step)) - 0.5));

const halfPixelTaps = (from: number, to: number, step: number): readonly Tap[] =>
  linearTaps(
    from,
    halfPixelCentres(to, step).map((centre) => Math.max(0, centre)),
  );

/** The first and the last position of both sizes coincide (`align_corners=True`). */
const alignedTaps: TapsOf = (from, to) => {
  const step = to > 1 ? f32((from - 1) / (to - 1)) : 0;
  return linearTaps(
    from,
    Float32Array.from({ length: to }, (_, i) => f32(i * step)),
  );
};

/** Cubic convolution (R. Keys, 1981) with PyTorch's a = −0.75, and half-pixel centres. */
const cubicTaps: TapsOf = (from, to) => {
  const centres = halfPixelCentres(to, from / to);
  const a = -0.75;
  const weightAt = (distance: number): number => {
    const x = Math.abs(distance);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  };
  return [-1, 0, 1, 2].map((offset) => ({
    positions: Int32Array.from(centres, (centre) => inside(Math.floor(centre) + offset, from)),
    weights: centres.map((centre) => weightAt(centre - Math.floor(centre) - offset)),
  }));
};

function alongAxis(x: MxArray, axis: 1 | 2, taps: readonly Tap[]): MxArray {
  return taps
    .map(({ positions, weights }) => {
      const shape = axis === 1 ? [1, weights.length, 1, 1] : [1, 1, weights.length, 1];
      return multiply(take(x, array(positions), axis), array(weights, { shape, dtype: x.dtype }));
    })
    .reduce(add);
}

function resized(x: MxArray, [height, width]: readonly [number, number], tapsOf: TapsOf): MxArray {
  const [, rows, columns] = x.shape as [number, number, number];
  const wide = width === columns ? x : alongAxis(x, 2, tapsOf(columns, width));
  return height === rows ? wide : alongAxis(wide, 1, tapsOf(rows, height));
}

/**
 * Resizes bilinearly with half-pixel centres, like `mode="bilinear", align_corners=False`.
 * @param x `[batch, height, width, channels]`
 * @param to the side of a square, or a ratio: the step is then exactly its inverse, even where the size is rounded down
 * @returns `[batch, height', width', channels]`
 */
export function bilinear(x: MxArray, to: { readonly size: number } | { readonly ratio: number }): MxArray {
  const [, height, width] = x.shape as [number, number, number];
  const resizedAxis = (y: MxArray, axis: 1 | 2, from: number): MxArray => {
    const size = "size" in to ? to.size : Math.floor(from * to.ratio);
    const step = "size" in to ? from / to.size : 1 / to.ratio;
    return size === from && step === 1 ? y : alongAxis(y, axis, halfPixelTaps(from, size, step));
  };
  return resizedAxis(resizedAxis(x, 2, width), 1, height);
}

/**
 * Resizes bilinearly with the corners kept in place, like `mode="bilinear", align_corners=True`.
 * @param x `[batch, height, width, channels]`
 * @param size `[height', width']`
 * @returns `[batch, height', width', channels]`
 */
export const bilinearAligned = (x: MxArray, size: readonly [height: number, width: number]): MxArray =>
  resized(x, size, alignedTaps);

/**
 * Resizes bicubically with half-pixel centres, like `mode="bicubic", align_corners=False`.
 * @param x `[batch, height, width, channels]`
 * @param size `[height', width']`
 * @returns `[batch, height', width', channels]`
 */
export const bicubic = (x: MxArray, size: readonly [height: number, width: number]): MxArray =>
  resized(x, size, cubicTaps);
