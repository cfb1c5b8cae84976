import { decodeLatents, decodingMemory, unpackedLatents } from "../autoencode.js";
import { defineStage } from "../stage.js";

/** Decodes the final latents to the image. */
export const decode = defineStage({
  name: "decode",
  reads: ["latents"],
  makes: "decoded",
  uses: () => [["vae"]],
  workingMemory: (workload, { model, room }) => decodingMemory(workload, model, room),
  async run({ latents }, generation, components) {
    using loan = await components.borrow("vae");
    return {
      image: await decodeLatents(latents, loan.vae, "decode", generation),
      latents: await unpackedLatents(latents, generation),
    };
  },
});
