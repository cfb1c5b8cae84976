import { evaluateSync, multiply, random, scope } from "@mflux-depth/mlx";
import { Adapter, canMultiplyIntegers, type Dial, Linear, LowRank } from "@mflux-depth/mlx/nn";
import type { FluxTransformer } from "mflux-depth/models/flux-transformer";
import { denseBlocks, inputsOf, multiplying, quantizedFrom, release, step } from "./blocks.js";
import { inTurn, type Row, round, type Timed, timed } from "./measure.js";

/** A typical rank of LoRAs. */
const rank = 16;
/** Tokens on a side of the image. */
const side = 32;

/** Adds a LoRA to every linear layer; returns its bytes. */
function addLora(model: FluxTransformer, dial: Dial): number {
  let bytes = 0;
  for (const [, layer] of model.modules())
    if (layer instanceof Linear) {
      const { rows, columns } = layer;
      const delta = scope(
        () =>
          new LowRank(
            multiply(random.normal([rank, columns]), 0.01),
            multiply(random.normal([rows, rank]), 0.01),
          ),
      );
      const adapter = new Adapter(delta, { scale: dial });
      evaluateSync(delta.arrays);
      layer.attach(adapter);
      bytes += adapter.nbytes;
    }
  return bytes;
}

/** The time of a step with LoRAs on all layers (none, one and three), relative to a step without. */
export async function benchAdapters(): Promise<Row[]> {
  const inputs = inputsOf(side);
  using dense = denseBlocks();
  using quantized = quantizedFrom(dense, 4);
  const rows: Row[] = [];
  const models: Record<string, () => FluxTransformer> = {
    "4 bits, exact": () => multiplying(quantized, "exact"),
    ...(canMultiplyIntegers() && { "4 bits, int8": () => multiplying(quantized, "int8") }),
  };
  const dials: readonly Dial[] = [{ scale: 0 }, { scale: 0 }, { scale: 0 }];
  const bytes = dials.map((dial) => addLora(quantized, dial));
  for (const [name, model] of Object.entries(models)) {
    const runs: Record<string, Timed> = {};
    for (const count of [0, 1, 3])
      runs[count] = timed(() => {
        for (const [index, dial] of dials.entries()) dial.scale = index < count ? 1 : 0;
        return step(model(), inputs);
      });
    const times = await inTurn(5, runs);
    for (const [count, time] of Object.entries(times))
      rows.push({
        name: `${name}, ${count} of rank ${rank}`,
        "step s": round(time),
        "× without": round(time / times["0"]!, 3),
        "adapters MB": round(bytes.slice(0, Number(count)).reduce((sum, one) => sum + one, 0) / 1e6),
      });
  }
  release(inputs);
  return rows;
}
