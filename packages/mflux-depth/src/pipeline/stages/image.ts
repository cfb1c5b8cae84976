import { encodeImage, encodingMemory } from "../autoencode.js";
import { defineStage } from "../stage.js";

/** Encodes the photo that the generation starts from. */
export const image = defineStage({
  name: "image",
  reads: [],
  makes: "start",
  applies: ({ startsFromPhoto }) => startsFromPhoto,
  uses: () => [["vae"]],
  workingMemory: (workload, { model, room }) => encodingMemory(workload, model, room),
  async run(_, generation, components) {
    using loan = await components.borrow("vae");
    return await encodeImage(generation.images.photo!, loan.vae, "image", generation);
  },
});
