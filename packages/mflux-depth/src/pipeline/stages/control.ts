import { adjustmentsOf } from "../../depth/adjustments.js";
import type { DepthEstimate } from "../../depth/estimate.js";
import { place, placementOf } from "../../images/fit.js";
import { lanczos } from "../../images/resample.js";
import { resizeInSlices } from "../../images/resample-in-slices.js";
import type { FloatImage } from "../../images/types.js";
import { latentShape } from "../../sampling/latents.js";
import { encodeImage, encodingMemory } from "../autoencode.js";
import { calibratePreviews, calibrationMemory } from "../calibrate-previews.js";
import { defineStage, type Generation, type Workload } from "../stage.js";

/**
 * Encodes the depth map that guides the geometry: the given one, or the one estimated from the photo. Keeps the last
 * map's latents.
 */
export const control = defineStage({
  name: "control",
  reads: ["estimate"],
  makes: "control",
  cache: ({ controls }) => controls,
  keeps: ({ width, height }, { family, configs }) => {
    const shape = latentShape(family.latentGrid({ width, height }, configs));
    return bytesPerFloat * (width * height + shape.reduce((product, side) => product * side));
  },
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) =>
    Math.max(
      encodingMemory(workload, model, room),
      fitsPreviews(workload) ? calibrationMemory(model, room) : 0,
    ),
  async run({ estimate }, generation, components) {
    const { controls } = generation;
    const key = keyOf(generation);
    const known = controls.get(key);
    const fits = fitsPreviews(generation.workload);
    if (known && !fits) return known;
    const { component } = generation.model.family.autoencoding;
    using loan = await components.borrow(component);
    const network = loan[component]!;
    // Done here because the autoencoder is in memory.
    if (fits) await calibratePreviews(network, generation);
    if (known) return known;
    const depthMap = await depthMapOf(estimate, generation);
    const latents = await encodeImage(depthMap, network, "control", generation);
    return controls.keep(key, { depthMap, latents });
  },
});

/** The map and its latents are float32. */
const bytesPerFloat = 4;

const fitsPreviews = ({ previews, steps }: Workload): boolean => previews === "fast" && steps > 0;

/** Everything that the control latents depend on, except the model. */
function keyOf({ images, estimator, request, resume }: Generation): string {
  // A resumed generation has its own map.
  const source = resume
    ? crypto.randomUUID()
    : (images.depthMap?.sha256 ?? [images.photo!.sha256, estimator!.folder]);
  const { width, height, fit } = request;
  return JSON.stringify([source, width, height, fit, adjustmentsOf(request)]);
}

/** The depth map at the size of the image. */
async function depthMapOf(
  estimate: DepthEstimate | null,
  { images, request, resume, signal }: Generation,
): Promise<FloatImage> {
  if (resume?.depthMap) return { ...resume.depthMap, channels: 1 };
  const { depthMap: given } = images;
  const placement = placementOf(given?.original ?? estimate!, request, request.fit);
  const { width, height } = placement;
  if (!given) return place(estimate!.map(width, height, adjustmentsOf(request)), placement);
  const { data } = await resizeInSlices(given, width, height, lanczos, signal);
  const map = { width, height, channels: 1, data: data.map((value) => Math.min(Math.max(value, 0), 1)) };
  return place(map, placement);
}
