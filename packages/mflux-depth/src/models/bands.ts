/*
 * Chains of convolutions on whole images or on bands of rows.
 *
 * In bands, the feature maps between convolutions never exist as a whole. Each band is computed with the surrounding
 * rows that its convolutions need, and norms use the statistics of the whole image, so the result is the same. The
 * price is time: the surrounding rows, and everything before a norm, are computed again.
 */
import { add, type MxArray, scope, slice, sliceUpdate, zeros } from "@mflux-depth/mlx";
import { Conv2d, type ConvTranspose2d, type GroupNorm, joinMoments, type Stages } from "@mflux-depth/mlx/nn";
import { consuming, disposeAll, evaluated } from "./stages.js";

/** A convolution with the operations around it. Feature maps are `[batch, height, width, channels]`. */
export interface ConvOp {
  /** A transposed convolution must have a stride of its kernel's size and no padding: its patches do not overlap. */
  readonly conv: Conv2d | ConvTranspose2d;
  /** Normalizes the input over the whole image and applies SiLU. */
  readonly norm?: GroupNorm;
  /** Repeats each input pixel this many times in both directions (nearest-neighbour upsampling). */
  readonly repeat?: number;
  /** Applied to each pixel of the input. */
  readonly before?: (x: MxArray) => MxArray;
  /** Applied to each pixel of the output. */
  readonly after?: (y: MxArray) => MxArray;
  /** Adds the input of the previous convolution to the output, through a 1×1 convolution if there is one. */
  readonly skip?: { readonly conv: Conv2d | null };
  /** A feature map to add to the output. */
  readonly plus?: MxArray;
}

/** The numbers of a convolution that decide the sizes of maps, without its weights. */
export interface OpShape {
  /** Channels of the output. */
  readonly channels: number;
  readonly kernelSize: number;
  readonly stride: number;
  /** Zeros above and left, and below and right. */
  readonly padding: readonly [before: number, after: number];
  readonly transposed: boolean;
  /** See {@link ConvOp.repeat}. */
  readonly repeat: number;
  readonly norm: boolean;
  readonly skip: boolean;
}

/** The shape of a convolution with the operations around it. */
export const opShapeOf = ({ conv, norm, repeat = 1, skip }: ConvOp): OpShape => {
  const [channels, kernelSize] = conv.weight.shape as [number, number];
  const transposed = !(conv instanceof Conv2d);
  return {
    channels,
    kernelSize,
    stride: conv.stride,
    padding: transposed ? [0, 0] : conv.padding,
    transposed,
    repeat,
    norm: norm !== undefined,
    skip: skip !== undefined,
  };
};

/** Size of a feature map, without its batch. */
export interface MapSize {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** From the first row to the one after the last. */
type RowRange = readonly [from: number, to: number];

/** The size of a feature map `[batch, height, width, channels]`. */
export const sizeOf = ({ shape }: MxArray): MapSize => {
  const [, height, width, channels] = shape as [number, number, number, number];
  return { height, width, channels };
};

/** The number of values of one image's feature map. */
export const elementsOf = ({ height, width, channels }: MapSize): number => height * width * channels;

// ---------------------------------------------------------------- whole maps

/** Applies convolutions to a whole feature map `[batch, height, width, channels]`. */
export function applyOps(ops: readonly ConvOp[], x: MxArray): MxArray {
  let [previous, current] = [x, x];
  for (const op of ops) {
    const { norm, skip, plus, after } = op;
    const residual = skip && skipped(skip, previous);
    // The convolution adds the residual itself, unless something happens in between.
    const added = residual && !after ? { residual } : {};
    const y = convolve(op, current, { ...(norm && { norm }), ...added });
    const summed = residual && after ? add(residual, y) : y;
    [previous, current] = [current, plus ? add(plus, summed) : summed];
  }
  return current;
}

const skipped = ({ conv }: NonNullable<ConvOp["skip"]>, x: MxArray): MxArray => (conv ? conv.forward(x) : x);

/** Applies the convolution and the functions of each pixel around it. */
function convolve(
  { conv, repeat = 1, before, after }: ConvOp,
  x: MxArray,
  extras: Parameters<Conv2d["forward"]>[1],
): MxArray {
  const input = before ? before(x) : x;
  const y = conv instanceof Conv2d ? conv.forward(input, { ...extras, repeat }) : conv.forward(input);
  return after ? after(y) : y;
}

// ---------------------------------------------------------------- the rows that a convolution needs

function sizeAfter(
  { channels, kernelSize, stride, padding, transposed, repeat }: OpShape,
  { height, width }: MapSize,
): MapSize {
  if (transposed) return { height: height * stride, width: width * stride, channels };
  const extent = (n: number): number =>
    Math.floor((n * repeat + padding[0] + padding[1] - kernelSize) / stride) + 1;
  return { height: extent(height), width: extent(width), channels };
}

/** Sizes of the input of each convolution, and of the result. */
export function sizesOf(ops: readonly OpShape[], input: MapSize): MapSize[] {
  const sizes = [input];
  for (const op of ops) sizes.push(sizeAfter(op, sizes.at(-1)!));
  return sizes;
}

/** The input rows needed for the output rows `[from, to)`. */
function reach(
  { kernelSize, stride, padding, transposed, repeat }: OpShape,
  [from, to]: RowRange,
  height: number,
): RowRange {
  if (transposed) return [Math.floor(from / stride), Math.ceil(to / stride)];
  const top = from * stride - padding[0];
  const bottom = (to - 1) * stride - padding[0] + kernelSize;
  return [Math.max(0, Math.floor(top / repeat)), Math.min(height, Math.ceil(bottom / repeat))];
}

/** The first output row computed from input rows that begin at `from`. */
const firstRow = ({ stride, transposed, repeat }: OpShape, from: number): number =>
  transposed ? from * stride : (from * repeat) / stride;

const around = (a: RowRange, b: RowRange): RowRange => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];

/** For `rows` of the result: the required rows of each convolution's input, with `rows` itself at the end. */
export function rowsNeeded(ops: readonly OpShape[], sizes: readonly MapSize[], rows: RowRange): RowRange[] {
  const needs: RowRange[] = [];
  needs[ops.length] = rows;
  for (let i = ops.length - 1; i >= 0; i--) {
    const wanted = reach(ops[i]!, needs[i + 1]!, sizes[i]!.height);
    // The next convolution's skip adds this one's input to its own output.
    needs[i] = ops[i + 1]?.skip ? around(wanted, needs[i + 2]!) : wanted;
  }
  return needs;
}

/** The rows of band `index` of `bands`. */
export const bandOf = (height: number, bands: number, index: number): RowRange => [
  Math.floor((height * index) / bands),
  Math.floor((height * (index + 1)) / bands),
];

// ---------------------------------------------------------------- bands

/** Takes `rows` out of a map that holds only the rows `held`. */
const rowsOf = (map: MxArray, held: RowRange, [from, to]: RowRange): MxArray =>
  slice(map, [null, [from - held[0], to - held[0]]]);

/** A band's convolutions with their statistics and row ranges. */
interface BandOps {
  readonly ops: readonly ConvOp[];
  /** The shape of each convolution. */
  readonly shapes: readonly OpShape[];
  /** `[batch, 2, channels]` of each norm, see {@link GroupNorm.factors}. */
  readonly factors: readonly (MxArray | undefined)[];
  /** See {@link rowsNeeded}. */
  readonly needs: readonly RowRange[];
}

/** Computes a band's rows of the result from the rows that the first convolution needs. */
function applyToRows({ ops, shapes, factors, needs }: BandOps, x: MxArray): MxArray {
  const maps = [x];
  for (const [i, op] of ops.entries()) {
    const [held, wanted] = [needs[i]!, needs[i + 1]!];
    const statistics = factors[i];
    const y = convolve(op, maps[i]!, statistics ? { factors: statistics } : {});
    // Padding belongs only at the image's edges: elsewhere, the rows computed from it are cut off.
    const first = firstRow(shapes[i]!, held[0]);
    let result = rowsOf(y, [first, first + y.shape[1]!], wanted);
    if (op.skip) result = add(skipped(op.skip, rowsOf(maps[i - 1]!, needs[i - 1]!, wanted)), result);
    if (op.plus) result = add(slice(op.plus, [null, wanted]), result);
    maps.push(result);
  }
  return maps.at(-1)!;
}

/** The convolutions from `start` to `end`. */
const sliceOps = ({ ops, shapes, factors, needs }: BandOps, start: number, end: number): BandOps => ({
  ops: ops.slice(start, end),
  shapes: shapes.slice(start, end),
  factors: factors.slice(start, end),
  needs: needs.slice(start, end + 1),
});

/**
 * Applies convolutions band by band.
 * @param groups convolutions in order; each group of a band is evaluated before the next, which bounds memory. A skip stays
 * within its group.
 * @param x `[batch, height, width, channels]`; must outlive the computation, like the maps of `plus`
 */
export function* inBands(groups: readonly (readonly ConvOp[])[], x: MxArray, bands: number): Stages {
  const ops = groups.flat();
  const shapes = ops.map(opShapeOf);
  const sizes = sizesOf(shapes, sizeOf(x));
  const factors: (MxArray | undefined)[] = [];
  const { height, width, channels } = sizes.at(-1)!;
  let image = scope(() => zeros([x.shape[0]!, height, width, channels], x.dtype));
  let finished = false;
  try {
    for (const [i, { norm }] of ops.entries())
      if (norm) {
        using moments = yield* momentsOf(
          norm,
          { ops: ops.slice(0, i), shapes: shapes.slice(0, i), factors },
          x,
          sizes,
          bands,
        );
        factors[i] = scope(() => norm.factors(moments));
      }
    for (let index = 0; index < bands; index++) {
      const rows = bandOf(height, bands, index);
      if (rows[0] === rows[1]) continue;
      const band = { ops, shapes, factors, needs: rowsNeeded(shapes, sizes, rows) };
      const last = sliceOps(band, ops.length - groups.at(-1)!.length, ops.length);
      const input = yield* beforeLastGroup(groups, band, x);
      // The graph holds the image alone, so it is written in place.
      image = yield* consuming([image, input], (whole, rowsBefore) =>
        sliceUpdate(whole, applyToRows(last, rowsBefore), [null, rows]),
      );
    }
    finished = true;
    return image;
  } finally {
    disposeAll(factors.filter((one) => one !== undefined));
    if (!finished) image.dispose();
  }
}

/** Runs all groups of a band except the last, whose input it returns. */
function* beforeLastGroup(groups: readonly (readonly ConvOp[])[], band: BandOps, x: MxArray): Stages {
  let rows = scope(() => slice(x, [null, band.needs[0]!]));
  let start = 0;
  for (const group of groups.slice(0, -1)) {
    const ops = sliceOps(band, start, start + group.length);
    rows = yield* consuming([rows], (input) => applyToRows(ops, input));
    start += group.length;
  }
  return rows;
}

/** The moments of the output of convolutions over the whole image, `[batch, 2, groups]`, for a norm that follows them. */
function* momentsOf(
  norm: GroupNorm,
  before: Omit<BandOps, "needs">,
  x: MxArray,
  sizes: readonly MapSize[],
  bands: number,
): Stages {
  const { length } = before.ops;
  if (length === 0) return scope(() => norm.moments(x));
  const { height } = sizes[length]!;
  let joined: MxArray | null = null;
  for (let index = 0; index < bands; index++) {
    const rows = bandOf(height, bands, index);
    if (rows[0] === rows[1]) continue;
    const needs = rowsNeeded(before.shapes, sizes, rows);
    const ofBand = (): MxArray =>
      norm.moments(applyToRows({ ...before, needs }, slice(x, [null, needs[0]!])));
    joined = joined
      ? yield* consuming([joined], (above) => joinMoments(above, ofBand(), rows[0] / rows[1]))
      : yield* evaluated(scope(ofBand));
  }
  return joined!;
}

/**
 * The smallest number of bands at which each group of convolutions takes at most about `limit` bytes: its input, and
 * for each convolution three maps of its output's size (activated, convolved, added).
 */
export function bandsWithin(
  limit: number,
  groups: readonly (readonly ConvOp[])[],
  input: MapSize,
  bytesPerElement = 4,
): number {
  const shapes = groups.map((ops) => ops.map(opShapeOf));
  const sizes = sizesOf(shapes.flat(), input);
  const { height } = sizes.at(-1)!;
  let bands = 1;
  while (bands < height && bytesPerElement * elementsOfBand(shapes, sizes, bands) > limit) bands++;
  return bands;
}

/** Elements that the largest group of a band holds at once. */
function elementsOfBand(
  groups: readonly (readonly OpShape[])[],
  sizes: readonly MapSize[],
  bands: number,
): number {
  // A band in the middle has neighbours on both sides.
  const needs = rowsNeeded(groups.flat(), sizes, bandOf(sizes.at(-1)!.height, bands, bands >> 1));
  const held = sizes.map((size, i) => size.width * size.channels * (needs[i]![1] - needs[i]![0]));
  let start = 0;
  return Math.max(
    ...groups.map((group) => {
      const outputs = held.slice(start + 1, start + 1 + group.length);
      const total = held[start]! + 3 * outputs.reduce((sum, one) => sum + one, 0);
      start += group.length;
      return total;
    }),
  );
}
