import { place, placementOf } from "../../images/fit.js";
import { lanczos, resizeInSlices } from "../../images/resample.js";
import type { FloatImage } from "../../images/types.js";
import { encodeImage, encodingMemory } from "../autoencode.js";
import { defineStage, type Generation } from "../stage.js";

/** Encodes the photo that the generation starts from. */
export const image = defineStage({
  name: "image",
  reads: [],
  makes: "start",
  applies: ({ startsFromPhoto }) => startsFromPhoto,
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) => encodingMemory(workload, model, room),
  async run(_, generation, components) {
    const { component } = generation.model.family.autoencoding;
    const photo = await framedPhoto(generation);
    using loan = await components.borrow(component);
    return await encodeImage(photo, loan[component]!, "image", generation);
  },
});

/** The photo at the size of the image. */
async function framedPhoto({ images, request, signal }: Generation): Promise<FloatImage> {
  const photo = images.photo!;
  const placement = placementOf(photo.original, request, request.fit);
  return place(await resizeInSlices(photo, placement.width, placement.height, lanczos, signal), placement);
}
