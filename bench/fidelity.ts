import { type FidelityScores, FluxDepth, type LoadOptions, score } from "mflux-depth";
import { type Row, round, seconds } from "./measure.js";

/** The judge of tiny-world's images. */
const depthModel = "tiny-depth-anything";

/** Scenes with exact depth, and what their pictures show. */
const scenes = {
  cube: "a red cube, wooden floor, studio, light from the left",
  mountains: "green mountains, blue sky, light from the right",
  portrait: "a gold portrait, studio, light from above",
  room: "a room, wooden floor, light from the left",
  sculpture: "a blue matte sculpture, checkered floor, overcast",
  shapes: "purple and yellow shapes, snow, sunset, light from the right",
};
type Scene = keyof typeof scenes;

const names = Object.keys(scenes) as Scene[];
const mapOf = (scene: Scene): string =>
  new URL(`../../examples/images/${scene}_depth.png`, import.meta.url).pathname;

/** Generates each scene from its map and scores it against the map of the scene `shifted` places further. */
async function row(
  name: string,
  {
    quantize = "none",
    guidance = 10,
    shifted = 0,
  }: Pick<LoadOptions, "quantize"> & { guidance?: number; shifted?: number },
): Promise<Row> {
  using flux = await FluxDepth.load({ model: "tiny-world", quantize });
  const scored: FidelityScores[] = [];
  for (const [i, scene] of names.entries()) {
    const result = await flux.generate({
      prompt: scenes[scene],
      depthImage: mapOf(scene),
      width: 256,
      height: 256,
      steps: 12,
      guidance,
      seed: i + 1,
    });
    const depth = mapOf(names[(i + shifted) % names.length]!);
    scored.push(await score({ ...result.image, channels: 3 }, { depth, depthModel }));
  }
  return meansOf(name, scored);
}

function meansOf(name: string, scored: readonly FidelityScores[]): Row {
  const mean = (of: (one: FidelityScores) => number): number =>
    scored.reduce((sum, one) => sum + of(one), 0) / scored.length;
  return {
    name,
    RMSE: round(mean((one) => one.rmse)),
    correlation: round(mean((one) => one.correlation)),
    AbsRel: round(mean((one) => one.absRel)),
    "edge F1": round(mean((one) => one.edgeF1)),
  };
}

/** The scores of the rendered pictures that the maps belong to: the judge's own error. */
async function rendered(): Promise<Row> {
  const scored = names.map((scene) =>
    score(mapOf(scene).replace("_depth.png", ".png"), { depth: mapOf(scene), depthModel }),
  );
  return meansOf("the rendered pictures of the maps", await Promise.all(scored));
}

/** Means over six scenes of tiny-world, 256×256, 12 steps, judged by the bundled Depth Anything. */
export async function benchFidelity(): Promise<Row[]> {
  const rows = [
    await rendered(),
    await row("its own map, guidance 10, not quantized", {}),
    await row("another scene's map", { shifted: 1 }),
  ];
  for (const guidance of [1, 3, 5, 15]) rows.push(await row(`guidance ${guidance}`, { guidance }));
  for (const quantize of [8, 6, 5, 4, 3] as const) rows.push(await row(`${quantize} bits`, { quantize }));
  return rows;
}

/** The time of `score` with the bundled Depth Anything, which includes reading its weights. */
export async function benchScore(): Promise<Row[]> {
  const image = mapOf("cube").replace("_depth.png", ".png");
  const taken = await seconds(3, () => score(image, { depth: mapOf("cube"), depthModel }));
  return [{ name: "score, an image of 256×256 against its map", "whole s": round(taken) }];
}
