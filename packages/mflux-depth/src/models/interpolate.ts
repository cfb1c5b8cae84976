import { add, array, type MxArray, multiply, take } from "@mflux-depth/mlx";

/** For each output position along an axis: its two source positions and the share of the higher one. */
interface Neighbours {
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly share: Float32Array;
}

/**
 * Neighbours with half-pixel centres (`align_corners=False`), in float32 as PyTorch computes them.
 * @param step source pixels per output pixel
 */
function halfPixelNeighbours(from: number, to: number, step: number): Neighbours {
  const low = new Int32Array(to);
  const high = new Int32Array(to);
  const share = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const centre = Math.max(0, Math.fround(Math.fround((i + 0.5) * Math.fround(step)) - 0.5));
    low[i] = Math.min(Math.floor(centre), from - 1);
    high[i] = Math.min(low[i]! + 1, from - 1);
    share[i] = centre - low[i]!;
  }
  return { low, high, share };
}

function interpolateAxis(x: MxArray, axis: 1 | 2, { low, high, share }: Neighbours): MxArray {
  const shape = axis === 1 ? [1, share.length, 1, 1] : [1, 1, share.length, 1];
  const upper = array(share, { shape, dtype: x.dtype });
  const lower = array(
    share.map((one) => 1 - one),
    { shape, dtype: x.dtype },
  );
  return add(multiply(take(x, array(low), axis), lower), multiply(take(x, array(high), axis), upper));
}

/**
 * Resizes bilinearly with half-pixel centres and without antialiasing, like `torch.nn.functional.interpolate` with
 * `mode="bilinear", align_corners=False`.
 * @param x `[batch, height, width, channels]`
 * @param to the side of a square, or a ratio: the step is then exactly its inverse, even where the size is rounded down
 * @returns `[batch, height', width', channels]`
 */
export function bilinear(x: MxArray, to: { readonly size: number } | { readonly ratio: number }): MxArray {
  const [, height, width] = x.shape as [number, number, number];
  const resized = (y: MxArray, axis: 1 | 2, from: number): MxArray => {
    const size = "size" in to ? to.size : Math.floor(from * to.ratio);
    const step = "size" in to ? from / to.size : 1 / to.ratio;
    return size === from && step === 1 ? y : interpolateAxis(y, axis, halfPixelNeighbours(from, size, step));
  };
  return resized(resized(x, 2, width), 1, height);
}
