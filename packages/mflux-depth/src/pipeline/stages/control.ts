import { adjustmentsOf } from "../../depth/adjustments.js";
import type { DepthEstimate } from "../../depth/estimate.js";
import { lanczos, resizeInSlices } from "../../images/resample.js";
import type { FloatImage } from "../../images/types.js";
import { encodeImage, encodingMemory } from "../autoencode.js";
import { defineStage, type Generation } from "../stage.js";

/** Encodes the depth map that guides the geometry: the given one, or the one estimated from the photo. */
export const control = defineStage({
  name: "control",
  reads: ["estimate"],
  makes: "control",
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) => encodingMemory(workload, model, room),
  async run({ estimate }, generation, components) {
    const depthMap = await depthMapOf(estimate, generation);
    const { component } = generation.model.family.autoencoding;
    using loan = await components.borrow(component);
    const latents = await encodeImage(depthMap, loan[component]!, "control", generation);
    return { depthMap, latents };
  },
});

/** The depth map at the size of the image. */
async function depthMapOf(
  estimate: DepthEstimate | null,
  { images, request, resume, signal }: Generation,
): Promise<FloatImage> {
  const { width, height } = request;
  if (resume?.depthMap) return { ...resume.depthMap, channels: 1 };
  const { depthMap: given } = images;
  if (!given) return estimate!.map(width, height, adjustmentsOf(request));
  const resized = await resizeInSlices(given, width, height, lanczos, signal);
  return { ...resized, data: resized.data.map((value) => Math.min(Math.max(value, 0), 1)) };
}
