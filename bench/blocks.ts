import { setImmediate } from "node:timers/promises";
import { evaluateSync, memory, random, reshape, scope } from "@mflux-depth/mlx";
import {
  canMultiplyIntegers,
  type QuantizedProducts,
  randomize,
  runStages,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";
import { rotaryTables } from "mflux-depth/models/flux-conditioning";
import {
  FluxTransformer,
  type FluxTransformerInputs,
  fluxTransformerConfig,
} from "mflux-depth/models/flux-transformer";
import { fluxConfig } from "./flux.js";
import {
  inTurn,
  peakResidentMB,
  type Row,
  ratio,
  relativeError,
  resetPeakResident,
  round,
  seconds,
  type Timed,
  timed,
  yardsticks,
} from "./measure.js";
import type { Peer } from "./peer.js";

/*
 * One double and one single block of FLUX.1, with the embedders and the output layer, on random weights.
 */

const config = fluxTransformerConfig(
  { ...fluxConfig("transformer"), num_layers: 1, num_single_layers: 1 },
  "config.json",
);
const dims = config.numAttentionHeads * config.attentionHeadDim;
const textTokens = 512;

/** Random float32 weights. */
export function denseBlocks(): FluxTransformer {
  const model = new FluxTransformer(config);
  randomize(model, random.key(0), 0.02);
  return model;
}

/** The same weights at `bits`; parameters that stay unquantized are shared. */
export function quantizedFrom(model: FluxTransformer, bits: 3 | 4 | 5 | 6 | 8): FluxTransformer {
  const copy = new FluxTransformer(config);
  const layers = [...model.modules()].map(([, layer]) => layer);
  for (const [i, [, layer]] of [...copy.modules()].entries())
    for (const [name, value] of layers[i]!.ownParameters()) layer.replace(name, reshape(value, value.shape));
  copy.quantize({ bits });
  return copy;
}

/** Inputs for a square image of `side` × `side` tokens. */
export function inputsOf(side: number): FluxTransformerInputs {
  const inputs = {
    hiddenStates: random.normal([1, side * side, config.inChannels]),
    encoderHiddenStates: random.normal([1, textTokens, config.jointAttentionDim]),
    pooledProjections: random.normal([1, config.pooledProjectionDim]),
    timestep: 0.7,
    guidance: 10,
    rotary: rotaryTables(config, { rows: side, columns: side, textTokens }),
  };
  evaluateSync(inputs);
  return inputs;
}

export function release(inputs: FluxTransformerInputs): void {
  const { hiddenStates, encoderHiddenStates, pooledProjections, rotary } = inputs;
  for (const held of [hiddenStates, encoderHiddenStates, pooledProjections, rotary.cos, rotary.sin])
    held.dispose();
}

/** Operations of one double and one single block on `n` image tokens; a multiply-add counts as two. */
function operations(n: number): number {
  const tokens = n + textTokens;
  const attention = 2 * 2 * tokens * tokens * dims;
  const double = 2 * tokens * dims * dims * (4 + 8) + attention;
  const single = 2 * tokens * dims * dims * (3 + 4 + 5) + attention;
  return double + single;
}

/** Runs one denoising step and releases its output. */
export async function step(model: FluxTransformer, inputs: FluxTransformerInputs): Promise<void> {
  const output = await runStages(model.stages(inputs));
  output.dispose();
}

/**
 * The memory of a step in addition to the weights: by MLX's count, and by the operating system's, which includes our
 * scratch memory and MLX's cache of buffers. Each also as a multiple of the widest activation (attention joined with
 * the feed-forward).
 */
async function memoryOf(model: FluxTransformer, inputs: FluxTransformerInputs): Promise<Partial<Row>> {
  const widest = (4 * (inputs.hiddenStates.shape[1]! + textTokens) * 5 * dims) / 1e6;
  memory.clearCache();
  memory.resetPeakMemory();
  resetPeakResident();
  const [held, resident] = [memory.activeMemory() / 1e6, peakResidentMB()];
  await step(model, inputs);
  const [more, moreResident] = [memory.peakMemory() / 1e6 - held, peakResidentMB() - resident];
  return {
    "step MB": round(more),
    "widest activations": round(more / widest, 2),
    "resident step MB": round(moreResident),
    "resident activations": round(moreResident / widest, 2),
  };
}

const bytesOf = (model: FluxTransformer): number =>
  [...model.parameters().values()].reduce((sum, { nbytes }) => sum + nbytes, 0);

/** The model with the products that the option `int8` selects, or with exact ones. */
export function multiplying(model: FluxTransformer, products: QuantizedProducts): FluxTransformer {
  setQuantizedProducts(model, products);
  setAttentionProducts(model, products === "int8" ? "bfloat16" : "exact");
  return model;
}

/**
 * The time of a step with each kind of product, compared with diffusers, and its memory.
 * @param side of the square image, in tokens
 */
export async function benchBlocks(peer: Peer | null, side: number): Promise<Row[]> {
  // Like the pipeline while denoising: a fresh buffer costs a page fault every 4 kB.
  memory.setCacheLimit(2e9);
  const { matmul, rows } = await yardsticks();
  using dense = denseBlocks();
  using quantized = quantizedFrom(dense, 4);
  const inputs = inputsOf(side);
  // Scopes hold discarded arrays until V8 gets a turn. Buffers freed while building would fill the cache unused.
  await setImmediate();
  memory.clearCache();
  const building = await seconds(5, () => scope(() => void dense.forward(inputs)));
  const models: Record<string, () => FluxTransformer> = {
    "dense float32": () => dense,
    "4 bits, exact": () => multiplying(quantized, "exact"),
    ...(canMultiplyIntegers() && { "4 bits, int8": () => multiplying(quantized, "int8") }),
  };
  const runs: Record<string, Timed> = {};
  for (const [name, model] of Object.entries(models)) runs[name] = timed(() => step(model(), inputs));
  const theirs = ["diffusers float32", "diffusers bfloat16"] as const;
  await using float32 = await peer?.make("blocks", { side, text_tokens: textTokens, dtype: "float32" });
  await using bfloat16 = await peer?.make("blocks", { side, text_tokens: textTokens, dtype: "bfloat16" });
  if (float32 && bfloat16) Object.assign(runs, { [theirs[0]]: float32.run, [theirs[1]]: bfloat16.run });
  const times = await inTurn(5, runs);
  const best = peer ? Math.min(...theirs.map((name) => times[name]!)) : undefined;
  for (const [name, time] of Object.entries(times)) {
    const model = models[name]?.();
    const rate = operations(side * side) / time / 1e9;
    rows.push({
      name: `${textTokens} + ${side * side} tokens, ${name}`,
      "step s": round(time),
      "G op/s": round(rate),
      "of matmul": round(rate / matmul, 2),
      ...(model && {
        "× diffusers": ratio(best, time),
        "graph ms": round(building * 1000),
        "weights MB": round(bytesOf(model) / 1e6),
        ...(await memoryOf(model, inputs)),
      }),
    });
  }
  release(inputs);
  return rows;
}

/** The loss from 8-bit inputs in a step at each bit width, as the relative error of the velocity. */
export async function benchIntegerLoss(): Promise<Row[]> {
  if (!canMultiplyIntegers()) return [{ name: "this processor has no integer products" }];
  const inputs = inputsOf(16);
  const velocity = (model: FluxTransformer): Float32Array =>
    scope(() => {
      const output = model.forward(inputs);
      evaluateSync(output);
      return output.toTypedArray() as Float32Array;
    });
  using dense = denseBlocks();
  const unquantized = velocity(dense);
  const rows: Row[] = [];
  for (const bits of [8, 6, 5, 4, 3] as const) {
    using model = quantizedFrom(dense, bits);
    const exact = velocity(model);
    const integer = velocity(multiplying(model, "int8"));
    rows.push({
      name: `${bits} bits, ${textTokens} + 256 tokens`,
      "int8 vs exact": round(relativeError(integer, exact), 2),
      "exact vs unquantized": round(relativeError(exact, unquantized), 2),
      "int8 vs unquantized": round(relativeError(integer, unquantized), 2),
    });
  }
  release(inputs);
  return rows;
}
