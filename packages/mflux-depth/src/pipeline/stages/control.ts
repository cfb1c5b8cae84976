import type { DepthEstimate } from "../../depth/depth.js";
import { lanczos, resize } from "../../images/resample.js";
import { encodeImage, encodingMemory } from "../autoencode.js";
import type { DepthMap } from "../result.js";
import { defineStage, type Generation } from "../stage.js";

/** Encodes the depth map that guides the geometry: the one given, or the one estimated from the photo. */
export const control = defineStage({
  name: "control",
  reads: ["estimate"],
  makes: "control",
  uses: () => [["vae"]],
  workingMemory: (workload, { model, room }) => encodingMemory(workload, model, room),
  async run({ estimate }, generation, components) {
    const depthMap = controlMap(estimate, generation);
    using loan = await components.borrow("vae");
    const latents = await encodeImage(
      { ...depthMap, data: depthMap.data.map((v) => v * 255), channels: 1 },
      loan.vae,
      generation,
    );
    return { depthMap, latents };
  },
});

/** The map at the size of the image, white is near. */
function controlMap(estimate: DepthEstimate | null, { images, request }: Generation): DepthMap {
  const { width, height } = request;
  const { depthMap: given } = images;
  if (!given) {
    const m = estimate!.conditioningMap(width, height);
    return { ...m, data: m.data.map((v) => v / 255) };
  }
  const resized = resize(given, width, height, lanczos);
  return { ...resized, data: resized.data.map((value) => Math.min(Math.max(value, 0), 255) / 255) };
}
