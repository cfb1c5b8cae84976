import { encodeImage, encodingMemory } from "../autoencode.js";
import { framed } from "../framed.js";
import { defineStage } from "../stage.js";

/** Encodes the photo that the generation starts from, or keeps parts of. */
export const image = defineStage({
  name: "image",
  reads: [],
  makes: "start",
  applies: ({ startsFromPhoto }) => startsFromPhoto,
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) => encodingMemory(workload, model, room),
  async run(_, generation, components) {
    const { component } = generation.model.family.autoencoding;
    const photo = await framed(generation.images.photo!, generation);
    using loan = await components.borrow(component);
    return await encodeImage(photo, loan[component]!, "image", generation);
  },
});
