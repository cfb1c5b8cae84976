import { fileURLToPath } from "node:url";
import { canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { FluxDepth, type GenerationResult } from "mflux-depth";
import { difference, type Row, round } from "./measure.js";

const bitWidths = [8, 6, 5, 4, 3] as const;

/** Scenes outside the training data. */
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

/** Generates the scenes at 256×256 in 20 steps with a fixed seed, in float32 unless `options` say otherwise. */
async function generate(options: {
  quantize: "none" | (typeof bitWidths)[number];
  int8?: boolean;
  dtype?: "bfloat16";
}): Promise<GenerationResult[]> {
  using flux = await FluxDepth.load({ model: "tiny-world", dtype: "float32", int8: false, ...options });
  const results: GenerationResult[] = [];
  for (const { map: name, prompt } of scenes)
    results.push(
      await flux.generate({ prompt, depthImage: map(name), width: 256, height: 256, steps: 20, seed: 1 }),
    );
  return results;
}

/** The relative error of latents, and the peak signal-to-noise ratio of images in dB. */
function loss(
  results: readonly GenerationResult[],
  references: readonly GenerationResult[],
): { latents: number; psnr: number } {
  let [squares, norm, pixels, values] = [0, 0, 0, 0];
  for (const [i, { latents, image }] of results.entries()) {
    const reference = references[i]!;
    const ofLatents = difference(latents.data, reference.latents.data);
    squares += ofLatents.squares;
    norm += ofLatents.norm;
    pixels += difference(image.data, reference.image.data).squares;
    values += image.data.length;
  }
  return {
    latents: round(Math.sqrt(squares / norm), 2),
    psnr: round(10 * Math.log10(255 ** 2 / (pixels / values))),
  };
}

/**
 * The loss of each bit width: images of the bundled model compared with those of its unquantized weights; and the
 * additional loss of 8-bit inputs, compared with exact products at the same bits. The first row is the loss of
 * computing in bfloat16.
 */
export async function benchQuantization(): Promise<Row[]> {
  const unquantized = await generate({ quantize: "none" });
  const inBfloat16 = loss(await generate({ quantize: "none", dtype: "bfloat16" }), unquantized);
  const rows: Row[] = [
    {
      name: "unquantized, in bfloat16",
      "bits per weight": 16,
      "latents, relative error": inBfloat16.latents,
      "image PSNR dB": inBfloat16.psnr,
    },
  ];
  for (const quantize of bitWidths) {
    const exact = await generate({ quantize });
    const ofWeights = loss(exact, unquantized);
    const ofInputs = canMultiplyIntegers()
      ? loss(await generate({ quantize, int8: true }), exact)
      : { latents: "", psnr: "" };
    rows.push({
      name: `${quantize} bits`,
      // Each group of 64 has a scale and a bias of 16 bits.
      "bits per weight": quantize + 0.5,
      "latents, relative error": ofWeights.latents,
      "image PSNR dB": ofWeights.psnr,
      "int8 vs exact: latents": ofInputs.latents,
      "int8 vs exact: PSNR dB": ofInputs.psnr,
    });
  }
  return rows;
}
