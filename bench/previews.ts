import { FluxDepth } from "mflux-depth";
import { median, type Row, round } from "./measure.js";

/** A depth map that comes nearer from left to right. */
const depthImage = {
  data: Uint8Array.from({ length: 64 * 64 }, (_, i) => 4 * (i % 64)),
  width: 64,
  height: 64,
  channels: 1,
};

/** The bundled model: the time of a step, and what a fast preview adds to it. */
export async function benchPreviews(): Promise<Row[]> {
  using flux = await FluxDepth.load({ model: "tiny-world" });
  const rows: Row[] = [];
  for (const side of [256, 512, 1024]) {
    const request = { prompt: "a gold portrait", depthImage, width: side, height: side, steps: 12, seed: 1 };
    const steps: number[] = [];
    const previews: number[] = [];
    let last = performance.now();
    for await (const event of flux.steps({ ...request, previewEvery: 1, previewKind: "fast" })) {
      const now = performance.now();
      if (event.type === "step" && event.preview && event.index > 1) {
        steps.push(1000 * event.seconds);
        previews.push(now - last - 1000 * event.seconds);
      }
      last = performance.now();
    }
    const [step, preview] = [median(steps), median(previews)];
    rows.push({
      name: `tiny-world, ${side}×${side}`,
      "step ms": round(step),
      "fast preview ms": round(preview),
      "share of a step %": round((100 * preview) / step),
    });
  }
  return rows;
}
