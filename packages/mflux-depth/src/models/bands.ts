/*
 * Layers of a picture within little memory: band by band of rows, with the rows around each that convolutions reach
 * for, and with the statistics of whole pictures in the norms. Maps between layers are then never there as a whole.
 * What a norm takes its statistics from is computed for them once more: memory is paid for with time.
 */
import { add, type MxArray, scope, slice, sliceUpdate, zeros } from "@mflux-depth/mlx";
import { type Conv2d, type GroupNorm, joinMoments, type Stages } from "@mflux-depth/mlx/nn";

/** A convolution, with what is done before and after it. */
export interface Step {
  readonly conv: Conv2d;
  /** Normalizes what comes in, and applies SiLU to it. */
  readonly norm?: GroupNorm;
  /** Each pixel counts so many times in both directions first. */
  readonly repeat?: number;
  /** What came into the step before is added to the result, through a convolution of single pixels if there is one. */
  readonly skip?: { readonly conv: Conv2d | null };
}

/** Feature maps `[b, h, w, c]` go in and come out. */
export interface Layer {
  forward(x: MxArray): MxArray;
  /** What the layer consists of, where that is convolutions alone. */
  readonly steps?: readonly Step[];
  /** How many maps of the size of its output the layer holds at once, its input aside. */
  readonly maps: number;
  /** Channels of its output, where there are no steps and they change. */
  readonly channels?: number;
}

export interface Size {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** From the first row to the one after the last. */
type Rows = readonly [from: number, to: number];

// ---------------------------------------------------------------- rows

function sizeAfter({ conv, repeat = 1 }: Step, { height, width }: Size): Size {
  const { padding, kernelSize, stride, weight } = conv;
  const extent = (n: number): number =>
    Math.floor((n * repeat + padding[0] + padding[1] - kernelSize) / stride) + 1;
  return { height: extent(height), width: extent(width), channels: weight.shape[0]! };
}

/** The sizes of what goes into the steps, one after the other, and of the result. */
function sizesOf(steps: readonly Step[], input: Size): Size[] {
  const sizes = [input];
  for (const step of steps) sizes.push(sizeAfter(step, sizes.at(-1)!));
  return sizes;
}

/** The rows that go into a step for `rows` of its result. */
function reach({ conv, repeat = 1 }: Step, [from, to]: Rows, height: number): Rows {
  const { kernelSize, stride, padding } = conv;
  const top = from * stride - padding[0];
  const bottom = (to - 1) * stride - padding[0] + kernelSize;
  return [Math.max(0, Math.floor(top / repeat)), Math.min(height, Math.ceil(bottom / repeat))];
}

const around = (a: Rows, b: Rows): Rows => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];

/** The rows of each step's input, and of the result of the last, that are needed for `rows` of that result. */
function needed(steps: readonly Step[], sizes: readonly Size[], rows: Rows): Rows[] {
  const needs: Rows[] = [];
  needs[steps.length] = rows;
  for (let i = steps.length - 1; i >= 0; i--) {
    const wanted = reach(steps[i]!, needs[i + 1]!, sizes[i]!.height);
    // The step after next adds what comes in here.
    needs[i] = steps[i + 1]?.skip ? around(wanted, needs[i + 2]!) : wanted;
  }
  return needs;
}

const bandOf = (height: number, bands: number, index: number): Rows => [
  Math.floor((height * index) / bands),
  Math.floor((height * (index + 1)) / bands),
];

/** Rows of a map of which `held` are there. */
const rowsOf = (map: MxArray, held: Rows, [from, to]: Rows): MxArray =>
  slice(map, [null, [from - held[0], to - held[0]]]);

/** The rows `rows` of what comes out of the last of `steps`, from whole `x`. */
function computeRows(
  steps: readonly Step[],
  factors: readonly (MxArray | undefined)[],
  x: MxArray,
  sizes: readonly Size[],
  rows: Rows,
): MxArray {
  const needs = needed(steps, sizes, rows);
  const maps = [slice(x, [null, needs[0]!])];
  for (const [i, { conv, repeat = 1, skip }] of steps.entries()) {
    const statistics = factors[i];
    const [held, wanted] = [needs[i]!, needs[i + 1]!];
    // Padding belongs at the picture's edges: elsewhere the rows that got it are too many.
    const y = conv.forward(maps[i]!, { repeat, ...(statistics && { factors: statistics }) });
    const first = (held[0] * repeat) / conv.stride;
    const result = rowsOf(y, [first, first + y.shape[1]!], wanted);
    if (!skip) maps.push(result);
    else {
      const before = rowsOf(maps[i - 1]!, needs[i - 1]!, wanted);
      maps.push(add(skip.conv ? skip.conv.forward(before) : before, result));
    }
  }
  return maps.at(-1)!;
}

/**
 * Runs steps band by band, evaluating after each.
 * @param x `[b, h, w, c]`, which must outlive the run.
 */
export function* inBands(steps: readonly Step[], x: MxArray, bands: number): Stages {
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const sizes = sizesOf(steps, { height, width, channels });
  const factors: (MxArray | undefined)[] = [];
  let result: MxArray | null = null;
  let finished = false;
  try {
    for (const [i, { norm }] of steps.entries())
      if (norm) {
        const moments = yield* momentsOf(norm, steps.slice(0, i), factors, x, sizes, bands);
        factors[i] = scope(() => norm.factors(moments));
        moments.dispose();
      }
    const { height: rows, width: columns, channels: outputs } = sizes.at(-1)!;
    let picture = zeros([x.shape[0]!, rows, columns, outputs], x.dtype);
    result = picture;
    for (let index = 0; index < bands; index++) {
      const band = bandOf(rows, bands, index);
      if (band[0] === band[1]) continue;
      const before = picture;
      picture = scope(() => sliceUpdate(before, computeRows(steps, factors, x, sizes, band), [null, band]));
      result = picture;
      // Alone in the graph, it is written in place.
      before.dispose();
      yield [picture];
    }
    finished = true;
    return picture;
  } finally {
    for (const one of factors) one?.dispose();
    if (!finished) result?.dispose();
  }
}

/** The moments of what comes out of `steps`, over the whole picture. */
function* momentsOf(
  norm: GroupNorm,
  steps: readonly Step[],
  factors: readonly (MxArray | undefined)[],
  x: MxArray,
  sizes: readonly Size[],
  bands: number,
): Stages {
  if (steps.length === 0) return scope(() => norm.moments(x));
  const { height } = sizes[steps.length]!;
  let joined: MxArray | null = null;
  let finished = false;
  try {
    for (let index = 0; index < bands; index++) {
      const rows = bandOf(height, bands, index);
      if (rows[0] === rows[1]) continue;
      const before: MxArray | null = joined;
      joined = scope(() => {
        const moments = norm.moments(computeRows(steps, factors, x, sizes, rows));
        return before ? joinMoments(before, moments, rows[0] / rows[1]) : moments;
      });
      before?.dispose();
      yield [joined];
    }
    finished = true;
    return joined!;
  } finally {
    if (!finished) joined?.dispose();
  }
}

// ---------------------------------------------------------------- which layers, in how many bands

/** Neighbouring layers that are run together. */
export interface Part {
  readonly layers: readonly Layer[];
  /** Of rows; 0 for whole maps. */
  readonly bands: number;
}

/** What computing takes beside the maps that are counted. */
const besides = 20e6;

/** Bytes of a value, and whether the backend fuses norms with what comes after them (else they are copied in float32). */
export interface Numbers {
  readonly bytes: number;
  readonly fused: boolean;
}

/** A way to run the layers up to some place. */
interface Way {
  readonly parts: readonly Part[];
  /** Bytes that its worst part holds. */
  readonly peak: number;
  /** Multiplications. */
  readonly cost: number;
}

/**
 * Chooses how layers are run: with whole maps where these fit into `limit` bytes, else in bands, with the least work
 * that fits, or what takes the least memory where nothing does.
 * @returns the parts, and the bytes that they need, inputs and outputs included.
 */
export function planParts(
  layers: readonly Layer[],
  input: Size,
  { bytes, fused }: Numbers,
  limit = Number.POSITIVE_INFINITY,
): { readonly parts: readonly Part[]; readonly work: number } {
  const within = (limit - besides) / 1.05;
  const sizes = [input];
  for (const { steps, channels } of layers) {
    const size = sizes.at(-1)!;
    sizes.push(steps ? sizesOf(steps, size).at(-1)! : { ...size, channels: channels ?? size.channels });
  }
  const better = (a: Way, b: Way | undefined): boolean => {
    if (!b) return true;
    const [tooMuch, before] = [a, b].map(({ peak }) => Math.max(peak, within)) as [number, number];
    return tooMuch < before || (tooMuch === before && a.cost < b.cost);
  };
  const best: Way[] = [{ parts: [], peak: 0, cost: 0 }];
  for (let to = 1; to <= layers.length; to++) {
    for (let from = to - 1; from >= 0; from--) {
      const together = layers.slice(from, to);
      if (from < to - 1 && together.some(({ steps }) => !steps)) break;
      for (const way of waysOf(together, sizes[from]!, sizes[to]!, { bytes, fused })) {
        const before = best[from]!;
        const whole: Way = {
          parts: [...before.parts, ...way.parts],
          peak: Math.max(before.peak, way.peak),
          cost: before.cost + way.cost,
        };
        if (better(whole, best[to])) best[to] = whole;
      }
    }
  }
  const { parts, peak } = best.at(-1)!;
  return { parts, work: 1.05 * peak + besides };
}

const elements = ({ height, width, channels }: Size): number => height * width * channels;

/** A single layer with whole maps, or several layers in 2, 4, 8, … bands. */
function* waysOf(layers: readonly Layer[], from: Size, to: Size, { bytes, fused }: Numbers): Generator<Way> {
  const [into, out] = [elements(from), elements(to)];
  const steps = layers.flatMap((layer) => layer.steps ?? []);
  const sizes = sizesOf(steps, from);
  const costs = steps.map(
    ({ conv }, i) => elements(sizes[i + 1]!) * conv.kernelSize ** 2 * sizes[i]!.channels,
  );
  if (layers.length === 1) {
    const copies = fused ? 0 : 12 * Math.max(into, out);
    const peak = bytes * (into + out * layers[0]!.maps) + copies;
    yield { parts: [{ layers, bands: 0 }], peak, cost: costs.reduce((sum, one) => sum + one, 0) };
  }
  if (steps.length === 0) return;
  for (let bands = 2; bands <= to.height; bands *= 2) {
    // A band in the midst has neighbours on both sides.
    const needs = needed(steps, sizes, bandOf(to.height, bands, bands >> 1));
    const rows = needs.map(([first, last]) => last - first);
    const held = sizes.reduce((sum, size, i) => sum + (elements(size) / size.height) * rows[i]!, 0);
    const peak = bytes * (into + out) + (fused ? 2 * bytes : 2 * bytes + 12) * held;
    // All steps for the result, and for each norm those before it.
    const times = (i: number): number => 1 + steps.slice(i + 1).filter(({ norm }) => norm).length;
    const cost = costs.reduce(
      (sum, one, i) => sum + (one * times(i) * bands * rows[i + 1]!) / sizes[i + 1]!.height,
      0,
    );
    yield { parts: [{ layers, bands }], peak, cost };
  }
}
