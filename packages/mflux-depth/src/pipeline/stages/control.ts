import { adjustmentsOf } from "../../depth/adjustments.js";
import type { DepthEstimate } from "../../depth/estimate.js";
import { lanczos, resizeInSlices } from "../../images/resample.js";
import type { FloatImage } from "../../images/types.js";
import { encodeImage, encodingMemory } from "../autoencode.js";
import { calibratePreviews, calibrationMemory } from "../calibrate-previews.js";
import { defineStage, type Generation, type Workload } from "../stage.js";

/** Encodes the depth map that guides the geometry: the given one, or the one estimated from the photo. */
export const control = defineStage({
  name: "control",
  reads: ["estimate"],
  makes: "control",
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) =>
    Math.max(
      encodingMemory(workload, model, room),
      fitsPreviews(workload) ? calibrationMemory(model, room) : 0,
    ),
  async run({ estimate }, generation, components) {
    const depthMap = await depthMapOf(estimate, generation);
    const { component } = generation.model.family.autoencoding;
    using loan = await components.borrow(component);
    const network = loan[component]!;
    // Here, because the autoencoder is in memory.
    if (fitsPreviews(generation.workload)) await calibratePreviews(network, generation);
    const latents = await encodeImage(depthMap, network, "control", generation);
    return { depthMap, latents };
  },
});

const fitsPreviews = ({ previews, steps }: Workload): boolean => previews === "fast" && steps > 0;

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
