import { evaluate, evaluateSync, memory, random, scope } from "@mflux-depth/mlx";
import { inParts, randomize } from "@mflux-depth/mlx/nn";
import { FluxDepth } from "mflux-depth";
import { FluxTransformer, fluxTransformerConfig, rotaryTables } from "mflux-depth/models/flux-transformer";
import { matmulPeak, median, peakMlxMB, peakResidentMB, type Row, round, seconds } from "./measure.js";

/** A depth map to draw on: a ramp, which costs what any map costs. */
function ramp(size: number): { data: Uint8Array; width: number; height: number; channels: number } {
  const data = new Uint8Array(size * size);
  for (let i = 0; i < data.length; i++) data[i] = Math.floor((255 * (i % size)) / size);
  return { data, width: size, height: size, channels: 1 };
}

/** The bundled checkpoint, whole pictures: median time of a step, of the rest, and memory. */
export async function benchPictures(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of [256, 512]) {
    memory.resetPeakMemory();
    using flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    const taken: number[] = [];
    const start = performance.now();
    for await (const event of flux.steps({
      prompt: "a red cone and a blue cube, on grass",
      depthImage: ramp(size),
      width: size,
      height: size,
      steps: 8,
      seed: 1,
    }))
      if (event.type === "step") taken.push(event.seconds);
    rows.push({
      name: `tiny-world ${size}×${size}`,
      "step s": round(median(taken.slice(1))),
      "picture (8 steps) s": round((performance.now() - start) / 1000),
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    });
  }
  return rows;
}

/** Multiply-adds counted twice, of one double and one single block on `n` image and `t` text tokens. */
function operations(dims: number, n: number, t: number): number {
  const tokens = n + t;
  const attention = 2 * 2 * tokens * tokens * dims;
  const double = 2 * tokens * dims * dims * (4 + 8) + attention;
  const single = 2 * tokens * dims * dims * (3 + 4 + 5) + attention;
  return double + single;
}

/** One double and one single block at FLUX.1 size, random float32 weights: time, share of the matmul peak, memory. */
export async function benchBlocks(imageTokens: readonly number[]): Promise<Row[]> {
  const peak = await matmulPeak();
  const config = fluxTransformerConfig({
    in_channels: 128,
    out_channels: 64,
    num_layers: 1,
    num_single_layers: 1,
  });
  const dims = config.numAttentionHeads * config.attentionHeadDim;
  using model = new FluxTransformer(config);
  randomize(model, random.key(0), 0.02);
  const textTokens = 512;
  const rows: Row[] = [];
  for (const tokens of imageTokens) {
    const side = Math.sqrt(tokens);
    const rotary = rotaryTables(config, { rows: side, columns: side, textTokens });
    const inputs = {
      hiddenStates: random.normal([1, tokens, config.inChannels]),
      encoderHiddenStates: random.normal([1, textTokens, config.jointAttentionDim]),
      pooledProjections: random.normal([1, config.pooledProjectionDim]),
      timestep: 0.7,
      guidance: 10,
      rotary,
    };
    evaluateSync(inputs);
    memory.clearCache();
    memory.resetPeakMemory();
    const weights = memory.activeMemory();
    const building = await seconds(5, () => scope(() => void model.forward(inputs)));
    const time = await seconds(3, async () => {
      const output = await inParts(model.stages(inputs));
      output.dispose();
    });
    rows.push({
      name: `1 double + 1 single block, ${textTokens} + ${tokens} tokens`,
      "step s": round(time),
      "G op/s": round(operations(dims, tokens, textTokens) / time / 1e9),
      "of matmul peak": round(operations(dims, tokens, textTokens) / time / 1e9 / peak, 2),
      "graph ms": round(building * 1000),
      "weights MB": round(weights / 1e6),
      "MLX peak MB": round(peakMlxMB()),
      "resident peak MB": round(peakResidentMB()),
    });
    for (const array of [...Object.values(inputs), rotary.cos, rotary.sin])
      if (typeof array === "object" && "dispose" in array) array.dispose();
  }
  rows.unshift({ name: "matmul 2048³ (the peak)", "G op/s": round(peak) });
  await evaluate([]);
  return rows;
}
