/* Turns the tensors of an adapter file into adapters on the layers of a module. */
import {
  add,
  all,
  any,
  astype,
  concatenate,
  contiguous,
  type DType,
  divide,
  evaluate,
  fromFp8,
  greater,
  isfinite,
  loadSafetensors,
  type MxArray,
  matmul,
  multiply,
  notEqual,
  pad,
  reshape,
  scope,
  slice,
  sqrt,
  square,
  stack,
  subtract,
  sum,
  where,
} from "@mflux-depth/mlx";
import {
  Adapter,
  type Delta,
  type Dial,
  Kronecker,
  Linear,
  LowRank,
  MatrixLayer,
  type Module,
  WholeDelta,
} from "@mflux-depth/mlx/nn";
import { ModelError } from "../../errors.js";
import { asModelError } from "../format.js";
import type { AdapterFile } from "./adapter-file.js";
import { BaseWeights } from "./base-weights.js";
import type { AdapterRole } from "./keys.js";
import { type AdapterMatch, gainAxis, type MatchedLayer, type MatchedReplacement } from "./match.js";
import { factorOf, type Training } from "./scaling.js";
import { hadamardIsWhole, isForEarlierColumns } from "./size.js";
import { rowsOf } from "./targets.js";

export interface AttachOptions {
  /** The strength of all adapters. */
  readonly dial: Dial;
  readonly training: Training;
  /** The tensors of the module's checkpoint under its own names, unread; DoRA needs some before they are quantized. */
  readonly stored: () => Iterable<readonly [key: string, tensor: MxArray]>;
  /** Whether the module has no weights yet; what is attached is then in float32. */
  readonly unread?: boolean;
  readonly signal: AbortSignal;
}

/**
 * Reads the matched layers of an adapter file and attaches them to the layers of a module, in the dtype that those
 * compute in. Only one layer at a time is being converted.
 * @throws {ModelError} when the file is damaged or has values that are not finite.
 * @throws the signal's reason.
 */
export async function attachAdapters(
  module: Module,
  file: AdapterFile,
  { layers, replacements }: Pick<AdapterMatch, "layers" | "replacements">,
  { dial, training, stored, unread = false, signal }: AttachOptions,
): Promise<void> {
  const modules = new Map(module.modules());
  const layerAt = (path: string): Linear => {
    const layer = modules.get(path);
    if (!(layer instanceof Linear)) throw new Error(`the module has no Linear layer ${path}`);
    return layer;
  };
  const tensors = new AdapterTensors(file);
  const weights = new BaseWeights(
    layers
      .filter((layer) => layer.module.tensors.has("magnitude"))
      .flatMap(({ target }) => target.parts.map(({ path }) => [path, layerAt(path)])),
    stored,
    { unread },
  );
  try {
    const alphas = await tensors.alphas(layers, signal);
    for (const replacement of replacements) await replace(modules, tensors, replacement, signal);
    const released = lastUses(layers);
    for (const layer of layers) {
      const { name } = layer.module;
      const alpha = alphas.get(layer) ?? training.alphaOf(name);
      const linears = layer.target.parts.map(({ path }) => layerAt(path));
      const parts = await readLayer(layer, {
        tensors,
        factor:
          layer.form.rank === null ? 1 : factorOf(layer.form.rank, alpha, training.isRankStabilized(name)),
        dtypes: linears.map(({ dtype }) => dtype),
        weights: layer.module.tensors.has("magnitude") ? linears.map((linear) => weights.of(linear)) : null,
        signal,
      });
      for (const [index, changes] of parts.entries())
        if (changes.delta || changes.bias || changes.gain)
          linears[index]!.attach(new Adapter(changes.delta, { ...changes, scale: dial }));
      for (const path of released.get(layer) ?? []) weights.release(layerAt(path));
    }
  } catch (error) {
    throw asModelError(file.path, error);
  } finally {
    tensors.dispose();
    weights[Symbol.dispose]();
  }
}

/** Replaces parameters of modules, each as it is held: in its dtype, and quantized if it is a quantized matrix. */
async function replace(
  modules: ReadonlyMap<string, Module>,
  tensors: AdapterTensors,
  replacement: MatchedReplacement,
  signal: AbortSignal,
): Promise<void> {
  const { values, finite } = tensors.replacement(replacement);
  try {
    const made = replacement.parts.flatMap(({ path }, index) => setParameter(modules, path, values[index]!));
    await evaluate([finite, made], { signal });
    if (!finite.item())
      throw new ModelError(
        tensors.path,
        `"${replacement.key}" has values that are not finite numbers; the file is damaged`,
      );
  } finally {
    for (const array of [finite, ...values]) array.dispose();
    tensors.releaseKey(replacement.key);
  }
}

/** Makes a value a parameter, lazily. @returns the arrays to evaluate */
function setParameter(modules: ReadonlyMap<string, Module>, path: string, value: MxArray): MxArray[] {
  const dot = path.lastIndexOf(".");
  const [module, name] = [modules.get(path.slice(0, dot)), path.slice(dot + 1)];
  if (!module) throw new Error(`the module has no parameter ${path}`);
  if (module instanceof MatrixLayer && name === "weight") return module.replaceMatrix(value);
  const held = new Map(module.ownParameters()).get(name);
  const dtype = held?.dtype ?? (module instanceof MatrixLayer ? module.dtype : value.dtype);
  const cast = scope(() => astype(value, dtype));
  module.replace(name, cast);
  return [cast];
}

/** For each layer of the file, the layers of the model whose weights are not needed after it. */
function lastUses(layers: readonly MatchedLayer[]): ReadonlyMap<MatchedLayer, readonly string[]> {
  const last = new Map<string, MatchedLayer>();
  for (const layer of layers)
    if (layer.module.tensors.has("magnitude"))
      for (const { path } of layer.target.parts) last.set(path, layer);
  const paths = new Map<MatchedLayer, string[]>();
  for (const [path, layer] of last) paths.set(layer, [...(paths.get(layer) ?? []), path]);
  return paths;
}

/** The changes to one layer of the model. */
interface LayerChange {
  readonly delta: Delta | null;
  readonly bias: MxArray | null;
  readonly gain: { readonly axis: "rows" | "columns"; readonly values: MxArray } | null;
}

interface ReadOptions {
  readonly tensors: AdapterTensors;
  /** alpha / rank. */
  readonly factor: number;
  /** The dtypes that the parts compute in. */
  readonly dtypes: readonly DType[];
  /** The weights of the parts before quantization, for DoRA; null if it is not needed. */
  readonly weights: readonly (() => MxArray)[] | null;
  readonly signal: AbortSignal;
}

/** Reads one layer of the file: the change to each part of its target. */
async function readLayer(layer: MatchedLayer, options: ReadOptions): Promise<LayerChange[]> {
  const { tensors, signal } = options;
  const finite = scope(() => tensors.finite(layer));
  const changes = scope(() => changesOf(layer, options));
  try {
    await evaluate([finite, changes.map(({ delta, bias, gain }) => [delta?.arrays, bias, gain?.values])], {
      signal,
    });
    if (!finite.item())
      throw new ModelError(
        tensors.path,
        `the layer "${layer.module.name}" has values that are not finite numbers; the file is damaged`,
      );
  } catch (error) {
    for (const change of changes) dispose(change);
    throw error;
  } finally {
    finite.dispose();
  }
  tensors.release(layer);
  if (changes.length === 1) return changes;
  return changes.map((change) => ({ ...change, delta: withoutEmptyRanks(change.delta) }));
}

function dispose({ delta, bias, gain }: LayerChange): void {
  delta?.dispose();
  bias?.dispose();
  gain?.values.dispose();
}

/** The changes, lazy. */
function changesOf(layer: MatchedLayer, options: ReadOptions): LayerChange[] {
  const { target, form } = layer;
  const { tensors, factor, dtypes, weights } = options;
  let from = 0;
  const deltaFor = deltasOf(layer, tensors, factor);
  const upBias = tensors.maybe(layer, "upBias");
  const diffBias = tensors.maybe(layer, "diffBias");
  const scaled = upBias && multiply(upBias, factor);
  const biases = scaled && diffBias ? add(scaled, diffBias) : (scaled ?? diffBias);
  if (weights && isForEarlierColumns(layer)) {
    const [dtype, weight] = [dtypes[0]!, weights[0]!()];
    const whole = astype(earlierDora(layer, tensors, { factor, weight }), dtype);
    return [{ delta: new WholeDelta(whole), bias: biases && astype(biases, dtype), gain: null }];
  }
  const parts = target.parts.map(({ rows }, index) => {
    const range = [from, from + rows] as const;
    from += rows;
    const dtype = dtypes[index]!;
    return {
      range,
      delta: form.kind === "bias" ? null : deltaFor(range, dtype),
      bias: biases && astype(cut(biases, range, layer), dtype),
    };
  });
  const gains = weights && gainsOf(layer, tensors, parts, weights);
  return parts.map(({ delta, bias }, index) => ({
    delta,
    bias,
    gain: gains && { axis: gains.axis, values: astype(gains.values[index]!, dtypes[index]!) },
  }));
}

type Range = readonly [from: number, to: number];

/** Reorders rows of a file's tensor into the order of the model. */
function cut(tensor: MxArray, [from, to]: Range, { target }: MatchedLayer): MxArray {
  return slice(target.swapsHalves ? swapped(tensor) : tensor, [[from, to]]);
}

/** Swaps the halves of the rows. */
function swapped(tensor: MxArray): MxArray {
  const half = tensor.shape[0]! / 2;
  return concatenate([slice(tensor, [[half, null]]), slice(tensor, [[0, half]])]);
}

/** How to make the delta of some rows of a layer, in a dtype. */
function deltasOf(
  layer: MatchedLayer,
  tensors: AdapterTensors,
  factor: number,
): (range: Range, dtype: DType) => Delta {
  const tensor = (role: AdapterRole): MxArray => tensors.get(layer, role);
  switch (layer.form.kind) {
    case "low-rank": {
      const { columns } = layer.target;
      const missing = columns - layer.form.columns!;
      const a =
        missing > 0
          ? pad(tensor("down"), [
              [0, 0],
              [0, missing],
            ])
          : tensor("down");
      return lowRankOf(layer, a, tensor("up"), factor);
    }
    case "hadamard":
      return hadamardOf(layer, tensors, factor);
    case "kronecker": {
      const [left, right] = ([1, 2] as const).map((n) =>
        layer.module.tensors.has(`lokr_w${n}`)
          ? tensor(`lokr_w${n}`)
          : matmul(tensor(`lokr_w${n}_a`), tensor(`lokr_w${n}_b`)),
      ) as [MxArray, MxArray];
      if (layer.target.swapsHalves) {
        const whole = new Kronecker(left, right, { factor }).dense();
        return (range, dtype) => new WholeDelta(astype(cut(whole, range, layer), dtype));
      }
      return (range, dtype) => new Kronecker(astype(left, dtype), astype(right, dtype), { factor, range });
    }
    default:
      return (range, dtype) => new WholeDelta(astype(cut(tensor("diff"), range, layer), dtype));
  }
}

/** Parts share the buffer of `a`. */
function lowRankOf(
  layer: MatchedLayer,
  a: MxArray,
  b: MxArray,
  factor: number,
): (range: Range, dtype: DType) => Delta {
  const inDtype = new Map<DType, MxArray>();
  return (range, dtype) => {
    const shared = inDtype.get(dtype) ?? astype(a, dtype);
    inDtype.set(dtype, shared);
    return new LowRank(reshape(shared, shared.shape), astype(cut(b, range, layer), dtype), factor);
  };
}

/**
 * `(A₁ B₁) ∘ (A₂ B₂)` is of rank `r₁ · r₂`: its factors are the products of each column of `A₁` with each of `A₂`, and of
 * each row of `B₁` with each of `B₂`.
 */
function hadamardOf(
  layer: MatchedLayer,
  tensors: AdapterTensors,
  factor: number,
): (range: Range, dtype: DType) => Delta {
  const tensor = (role: AdapterRole): MxArray => tensors.get(layer, role);
  const [a1, b1, a2, b2] = [
    tensor("hada_w1_a"),
    tensor("hada_w1_b"),
    tensor("hada_w2_a"),
    tensor("hada_w2_b"),
  ];
  const [rows, columns] = [a1.shape[0]!, b1.shape[1]!];
  const [first, second] = [a1.shape[1]!, a2.shape[1]!];
  const rank = first * second;
  if (hadamardIsWhole(rank, rows, columns)) {
    const whole = multiply(multiply(matmul(a1, b1), matmul(a2, b2)), factor);
    return (range, dtype) => new WholeDelta(astype(cut(whole, range, layer), dtype));
  }
  const up = reshape(multiply(reshape(a1, [rows, first, 1]), reshape(a2, [rows, 1, second])), [rows, rank]);
  const down = reshape(multiply(reshape(b1, [first, 1, columns]), reshape(b2, [1, second, columns])), [
    rank,
    columns,
  ]);
  return lowRankOf(layer, down, up, factor);
}

/**
 * DoRA's change to the columns that the base model's layer has. The added columns get zeros, because gains would change
 * them, too.
 */
function earlierDora(
  layer: MatchedLayer,
  tensors: AdapterTensors,
  { factor, weight }: { readonly factor: number; readonly weight: MxArray },
): MxArray {
  const columns = layer.form.columns!;
  const earlier = slice(weight, [null, [0, columns]]);
  const change = multiply(matmul(tensors.get(layer, "up"), tensors.get(layer, "down")), factor);
  const adapted = add(earlier, change);
  const magnitude = tensors.get(layer, "magnitude");
  const axis = gainAxis(magnitude.shape, { rows: rowsOf(layer.target), columns })!;
  const norms = sqrt(sum(square(adapted), { axis: axis === "rows" ? 1 : 0 }));
  const gains = reshape(gainsFor(magnitude, norms), axis === "rows" ? [-1, 1] : [1, -1]);
  return pad(subtract(multiply(gains, adapted), earlier), [
    [0, 0],
    [0, layer.target.columns - columns],
  ]);
}

/** Magnitudes divided by norms; 1 for a row or column of zeros, which gains do not change. */
const gainsFor = (magnitudes: MxArray, norms: MxArray): MxArray =>
  where(greater(norms, 0), divide(reshape(magnitudes, [-1]), norms), 1);

/** DoRA's gains: its magnitudes divided by the norms of the adapted rows, or of the columns of the whole fused matrix. */
function gainsOf(
  layer: MatchedLayer,
  tensors: AdapterTensors,
  parts: readonly { readonly range: Range; readonly delta: Delta | null }[],
  weights: NonNullable<ReadOptions["weights"]>,
): { axis: "rows" | "columns"; values: MxArray[] } {
  const magnitude = tensors.get(layer, "magnitude");
  const { columns } = layer.target;
  const axis = gainAxis(magnitude.shape, { rows: rowsOf(layer.target), columns })!;
  const squares = parts.map(({ delta }, index) => {
    const weight = weights[index]!();
    const adapted = delta ? add(weight, astype(delta.dense(), "float32")) : weight;
    return sum(square(adapted), { axis: axis === "rows" ? 1 : 0 });
  });
  if (axis === "rows") {
    const all = reshape(magnitude, [-1]);
    return { axis, values: parts.map(({ range }, i) => gainsFor(cut(all, range, layer), sqrt(squares[i]!))) };
  }
  const norms = sqrt(sum(stack(squares), { axis: 0 }));
  return { axis, values: parts.map(() => gainsFor(magnitude, norms)) };
}

/**
 * Drops the ranks that are zero in all rows: an adapter of separate layers that was joined for a fused one has blocks of
 * zeros. Returns null if nothing is left.
 */
function withoutEmptyRanks(delta: Delta | null): Delta | null {
  if (!(delta instanceof LowRank)) return delta;
  const used = scope(() => any(notEqual(delta.b, 0), { axis: 0 }).toTypedArray()) as ArrayLike<number>;
  const ranks = Array.from(used, (one, index) => (one ? index : -1)).filter((index) => index >= 0);
  if (ranks.length === delta.rank) return delta;
  if (ranks.length === 0) {
    delta.dispose();
    return null;
  }
  const [first, last] = [ranks[0]!, ranks.at(-1)!];
  const { a, b, factor } = delta;
  const smaller = scope(() => {
    const range = [first, last + 1] as const;
    return new LowRank(contiguous(slice(a, [range])), contiguous(slice(b, [null, range])), factor);
  });
  delta.dispose();
  return smaller;
}

/** The tensors of an adapter file in float32, unread. */
class AdapterTensors {
  readonly path: string;
  readonly #arrays: Map<string, MxArray>;

  constructor({ path }: AdapterFile) {
    this.path = path;
    this.#arrays = loadSafetensors(path).arrays;
  }

  /** A tensor that the layer is known to have. */
  get({ module }: MatchedLayer, role: AdapterRole): MxArray {
    const { key } = module.tensors.get(role)!;
    const tensor = this.#arrays.get(key);
    if (!tensor) throw new ModelError(this.path, `MLX did not read tensor "${key}"`);
    return floating(tensor);
  }

  maybe(layer: MatchedLayer, role: AdapterRole): MxArray | null {
    return layer.module.tensors.has(role) ? this.get(layer, role) : null;
  }

  /** Whether all values of a layer are finite, lazily. */
  finite(layer: MatchedLayer): MxArray {
    const sums = Array.from(layer.module.tensors.keys(), (role) => sum(this.get(layer, role)));
    return all(isfinite(stack(sums)));
  }

  /** The value of alpha of each layer that has one. */
  async alphas(layers: readonly MatchedLayer[], signal: AbortSignal): Promise<Map<MatchedLayer, number>> {
    const found = scope(
      () =>
        new Map(
          layers.flatMap((layer) => {
            const alpha = this.maybe(layer, "alpha");
            return alpha ? [[layer, reshape(alpha, [])] as const] : [];
          }),
        ),
    );
    try {
      await evaluate([...found.values()], { signal });
      return new Map(Array.from(found, ([layer, alpha]) => [layer, alpha.item() as number]));
    } finally {
      for (const alpha of found.values()) alpha.dispose();
    }
  }

  /** The new values of the parts of a replacement in float32, lazily, and whether all are finite. */
  replacement({ key, parts, swapsHalves }: MatchedReplacement): { values: MxArray[]; finite: MxArray } {
    const tensor = this.#arrays.get(key);
    if (!tensor) throw new ModelError(this.path, `MLX did not read tensor "${key}"`);
    return scope(() => {
      const whole = swapsHalves ? swapped(floating(tensor)) : floating(tensor);
      let from = 0;
      const values = parts.map(({ rows }) => {
        from += rows;
        return parts.length === 1 ? reshape(whole, whole.shape) : slice(whole, [[from - rows, from]]);
      });
      return { values, finite: isfinite(sum(whole)) };
    });
  }

  /** Frees a tensor of the file. */
  releaseKey(key: string): void {
    this.#arrays.get(key)?.dispose();
  }

  /** Frees the tensors of a layer. */
  release({ module }: MatchedLayer): void {
    for (const { key } of module.tensors.values()) this.#arrays.get(key)?.dispose();
  }

  dispose(): void {
    for (const array of this.#arrays.values()) array.dispose();
  }
}

/** A tensor of the file in float32. Float8 is read as bytes. */
const floating = (tensor: MxArray): MxArray =>
  tensor.dtype === "uint8" ? fromFp8(tensor, "float32") : astype(tensor, "float32");
