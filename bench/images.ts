import { fileURLToPath } from "node:url";
import { memory } from "@mflux-depth/mlx";
import { canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { FluxDepth, type FluxDepthOptions } from "mflux-depth";
import { inTurn, median, peakMlxMB, peakResidentMB, type Row, ratio, round, timed } from "./measure.js";
import type { Peer } from "./peer.js";

/** A depth map. A ramp costs as much as any other map. */
function ramp(size: number): { data: Uint8Array; width: number; height: number; channels: number } {
  const data = new Uint8Array(size * size);
  for (let i = 0; i < data.length; i++) data[i] = Math.floor((256 * (i % size)) / size);
  return { data, width: size, height: size, channels: 1 };
}

const bundled = fileURLToPath(new URL("../../models/tiny-world", import.meta.resolve("mflux-depth")));
const steps = 8;

/** Whole images of the bundled model: time of an image, the median step of the last one, and memory. */
export async function benchImages(peer: Peer | null): Promise<Row[]> {
  const rows: Row[] = [];
  const ways: Record<string, FluxDepthOptions> = {
    unquantized: { quantize: "none" },
    ...(canMultiplyIntegers() && { "4 bits, int8": { quantize: 4, int8: true } }),
  };
  for (const size of [256, 512]) {
    await using theirs = await peer?.make("image", { model: bundled, size, steps });
    for (const [way, options] of Object.entries(ways)) {
      memory.clearCache();
      memory.resetPeakMemory();
      using flux = await FluxDepth.load({ model: "tiny-world", ...options });
      let taken: number[] = [];
      let count = 0;
      const times = await inTurn(3, {
        ours: timed(async () => {
          taken = [];
          for await (const event of flux.steps({
            // A different prompt each time, because encoded prompts are cached.
            prompt: `a red cone and a blue cube, on grass, ${count++}`,
            depthImage: ramp(size),
            width: size,
            height: size,
            steps,
            seed: 1,
          }))
            if (event.type === "step") taken.push(event.seconds);
        }),
        ...(theirs && { diffusers: theirs.run }),
      });
      rows.push({
        name: `tiny-world ${size}×${size}, ${way}`,
        "step s": round(median(taken.slice(1))),
        [`image (${steps} steps) s`]: round(times.ours!),
        ...(theirs && {
          "diffusers float32 s": round(times.diffusers!),
          "× diffusers": ratio(times.diffusers, times.ours),
        }),
        "MLX peak MB": round(peakMlxMB()),
        "resident peak MB": round(peakResidentMB()),
      });
    }
  }
  return rows;
}
