import { fileURLToPath } from "node:url";
import { FluxDepth, type GenerationResult } from "mflux-depth";
import { type Row, round } from "./measure.js";

const bitWidths = ["none", 8, 6, 5, 4, 3] as const;

/** Scenes that the model has not seen. */
const scenes = [
  {
    map: "portrait",
    prompt: "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
  },
  { map: "room", prompt: "a matte blue room, wooden floor, sunset, light from the right" },
  { map: "sculpture", prompt: "a metallic red sculpture, on grass, overcast, light from above" },
  { map: "mountains", prompt: "mountains, snow, blue sky, cinematic" },
];
const map = (name: string): string =>
  fileURLToPath(new URL(`../../examples/images/${name}_depth.png`, import.meta.url));

/** ‖a − b‖² / ‖b‖², as its two sums. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): { squares: number; norm: number } {
  let [squares, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    squares += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return { squares, norm };
}

/**
 * What each bit width loses: pictures of the bundled checkpoint, 256×256 in 20 steps of a fixed seed, against those of
 * the same weights whole, all computed in float32. Latents by their relative error, pictures by their peak signal to
 * noise ratio.
 */
export async function benchQuantization(): Promise<Row[]> {
  const rows: Row[] = [];
  const whole: GenerationResult[] = [];
  for (const quantize of bitWidths) {
    using flux = await FluxDepth.load({ model: "tiny-world", quantize, dtype: "float32" });
    let [latents, pixels, values] = [{ squares: 0, norm: 0 }, 0, 0];
    for (const [index, { map: name, prompt }] of scenes.entries()) {
      const result = await flux.generate({
        prompt,
        depthImage: map(name),
        width: 256,
        height: 256,
        steps: 20,
        seed: 1,
      });
      if (quantize === "none") whole.push(result);
      const reference = whole[index]!;
      const { squares, norm } = difference(result.latents.data, reference.latents.data);
      latents = { squares: latents.squares + squares, norm: latents.norm + norm };
      pixels += difference(result.image.data, reference.image.data).squares;
      values += reference.image.data.length;
    }
    rows.push({
      name: quantize === "none" ? "not quantized" : `${quantize} bits`,
      // Each group of 64 has a scale and a bias of 16 bits.
      "bits a weight": quantize === "none" ? 16 : quantize + 0.5,
      "latents, relative error": round(Math.sqrt(latents.squares / latents.norm), 2),
      "picture PSNR dB": quantize === "none" ? "" : round(10 * Math.log10(255 ** 2 / (pixels / values))),
    });
  }
  return rows;
}
