import type { DeviceType, DType, MxArray } from "@mflux-depth/mlx";
import {
  bandOf,
  type ConvOp,
  elementsOf,
  type MapSize,
  type OpShape,
  opShapeOf,
  rowsNeeded,
  sizesOf,
} from "./bands.js";

/** A layer of a convolutional network. Feature maps `[batch, height, width, channels]` go in and come out. */
export interface Layer {
  forward(x: MxArray): MxArray;
  /** The layer's convolutions, if it consists only of them: such layers can run in bands. */
  readonly ops?: readonly ConvOp[];
  /** How many maps of its output's size the layer holds at once, not counting its input. */
  readonly maps: number;
  /** Channels of the output, if the layer has no `ops` and changes them. */
  readonly channels?: number;
}

/** The parts of a layer that decide its memory. */
export interface LayerShape extends Pick<Layer, "maps" | "channels"> {
  readonly ops?: readonly OpShape[];
}

/** Drops the weights of a layer. */
export const shapeOfLayer = ({ ops, maps, channels }: Layer): LayerShape => ({
  ...(ops && { ops: ops.map(opShapeOf) }),
  maps,
  ...(channels !== undefined && { channels }),
});

/** Neighbouring layers that run together. */
interface LayerGroup {
  /** The index of the first layer. */
  readonly from: number;
  /** The index after the last layer. */
  readonly to: number;
  /** The number of bands of rows; 0 for whole maps. */
  readonly bands: number;
}

/** How the backend computes. */
export interface Arithmetic {
  /** Bytes per element. */
  readonly bytes: number;
  /** Whether norms are fused with what follows them; otherwise they make copies in float32. */
  readonly fused: boolean;
}

/** Whether layers run on the CPU's fused kernels, which compute in float32. */
export const runsFused = (dtype: DType, device: DeviceType): boolean =>
  device === "cpu" && dtype === "float32";

/** Bytes used in addition to the counted maps. */
const uncounted = 20e6;

/** A way of running the layers up to some point. */
interface Candidate {
  readonly groups: readonly LayerGroup[];
  /** Bytes that its worst group holds. */
  readonly peak: number;
  /** Multiplications. */
  readonly cost: number;
}

/**
 * Chooses how to run layers: on whole maps if these fit into `limit` bytes, otherwise in the bands with the least work
 * among those that fit, or with the least memory if none fits.
 * @returns the groups in order, and the bytes that they need, including inputs and outputs
 */
export function planLayers(
  layers: readonly LayerShape[],
  input: MapSize,
  arithmetic: Arithmetic,
  limit = Number.POSITIVE_INFINITY,
): { readonly groups: readonly LayerGroup[]; readonly work: number } {
  const within = (limit - uncounted) / 1.05;
  const sizes = [input];
  for (const { ops, channels } of layers) {
    const size = sizes.at(-1)!;
    sizes.push(ops ? sizesOf(ops, size).at(-1)! : { ...size, channels: channels ?? size.channels });
  }
  const better = (a: Candidate, b: Candidate | undefined): boolean => {
    if (!b) return true;
    const [excess, before] = [a, b].map(({ peak }) => Math.max(peak, within)) as [number, number];
    return excess < before || (excess === before && a.cost < b.cost);
  };
  const whole = layers.map((_, i) => wholeMaps(layers, i, sizes, arithmetic));
  const wholePeak = Math.max(0, ...whole.map(({ peak }) => peak));
  if (wholePeak <= within)
    return { groups: whole.flatMap(({ groups }) => groups), work: 1.05 * wholePeak + uncounted };
  const best: Candidate[] = [{ groups: [], peak: 0, cost: 0 }];
  for (let to = 1; to <= layers.length; to++) {
    for (let from = to - 1; from >= 0; from--) {
      const together = layers.slice(from, to);
      if (from < to - 1 && together.some(({ ops }) => !ops)) break;
      const ways = [
        ...(together.length === 1 ? [whole[from]!] : []),
        ...inBands(together, { from, to }, sizes, arithmetic),
      ];
      for (const way of ways) {
        const before = best[from]!;
        const joined: Candidate = {
          groups: [...before.groups, ...way.groups],
          peak: Math.max(before.peak, way.peak),
          cost: before.cost + way.cost,
        };
        if (better(joined, best[to])) best[to] = joined;
      }
    }
  }
  const { groups, peak } = best.at(-1)!;
  return { groups, work: 1.05 * peak + uncounted };
}

/** Multiplications of each convolution on whole maps. */
const costsOf = (ops: readonly OpShape[], sizes: readonly MapSize[]): readonly number[] =>
  ops.map(({ kernelSize }, i) => elementsOf(sizes[i + 1]!) * kernelSize ** 2 * sizes[i]!.channels);

/** A layer on whole maps. */
function wholeMaps(
  layers: readonly LayerShape[],
  index: number,
  sizes: readonly MapSize[],
  { bytes, fused }: Arithmetic,
): Candidate {
  const [into, out] = [elementsOf(sizes[index]!), elementsOf(sizes[index + 1]!)];
  const { ops = [], maps } = layers[index]!;
  const cost = costsOf(ops, sizesOf(ops, sizes[index]!)).reduce((sum, one) => sum + one, 0);
  const copies = fused ? 0 : 12 * Math.max(into, out);
  const peak = bytes * (into + out * maps) + copies;
  return { groups: [{ from: index, to: index + 1, bands: 0 }], peak, cost };
}

/** The layers of a group in 2, 4, 8, … bands, if they consist only of convolutions. */
function* inBands(
  layers: readonly LayerShape[],
  { from, to }: { readonly from: number; readonly to: number },
  sizes: readonly MapSize[],
  { bytes, fused }: Arithmetic,
): Generator<Candidate> {
  const [input, output] = [sizes[from]!, sizes[to]!];
  const [into, out] = [elementsOf(input), elementsOf(output)];
  const ops = layers.flatMap((layer) => layer.ops ?? []);
  const opSizes = sizesOf(ops, input);
  const costs = costsOf(ops, opSizes);
  if (ops.length === 0) return;
  for (let bands = 2; bands <= output.height; bands *= 2) {
    // A band in the middle has neighbours on both sides.
    const needs = rowsNeeded(ops, opSizes, bandOf(output.height, bands, bands >> 1));
    const rows = needs.map(([first, last]) => last - first);
    const held = opSizes.reduce((sum, size, i) => sum + (elementsOf(size) / size.height) * rows[i]!, 0);
    const peak = bytes * (into + out) + (fused ? 2 * bytes : 2 * bytes + 12) * held;
    // Each convolution runs once for the result, and once for each later norm.
    const times = (i: number): number => 1 + ops.slice(i + 1).filter(({ norm }) => norm).length;
    const cost = costs.reduce(
      (sum, one, i) => sum + (one * times(i) * bands * rows[i + 1]!) / opSizes[i + 1]!.height,
      0,
    );
    yield { groups: [{ from, to, bands }], peak, cost };
  }
}
