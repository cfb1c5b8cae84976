import { decodeLatents, decodingMemory, unpackedLatents } from "../autoencode.js";
import { defineStage } from "../stage.js";

/** Decodes the final latents to the image. */
export const decode = defineStage({
  name: "decode",
  reads: ["latents"],
  makes: "decoded",
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) => decodingMemory(workload, model, room),
  async run({ latents }, generation, components) {
    const { component } = generation.model.family.autoencoding;
    using loan = await components.borrow(component);
    return {
      image: await decodeLatents(latents, loan[component]!, "decode", generation),
      latents: await unpackedLatents(latents, generation),
    };
  },
});
