import { decodeLatents, decodingMemory, unpackedLatents } from "../autoencode.js";
import { compose } from "../masking.js";
import { defineStage } from "../stage.js";

/** Decodes the final latents to the image. */
export const decode = defineStage({
  name: "decode",
  reads: ["latents"],
  makes: "decoded",
  uses: (_, { autoencoding }) => [[autoencoding.component]],
  workingMemory: (workload, { model, room }) => decodingMemory(workload, model, room),
  async run({ latents }, generation, components) {
    const { fastPreviews, workload, model } = generation;
    const { component } = model.family.autoencoding;
    using loan = await components.borrow(component);
    const decoded = await decodeLatents(latents, loan[component]!, "decode", generation);
    const unpacked = await unpackedLatents(latents, generation);
    if (workload.previews === "fast") fastPreviews.learn(unpacked, decoded);
    return { image: await compose(decoded, generation), latents: unpacked };
  },
});
