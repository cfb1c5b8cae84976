/*
 * Black Forest Labs' depth LoRA, which turns FLUX.1-dev into FLUX.1 Depth: its input layer is for latents and control
 * latents, and it replaces the norms of queries and keys. (flux/model.py, FluxLoraWrapper.) ComfyUI saves it with
 * different names. (comfy/lora_convert.py, convert_lora_bfl_control.)
 */
import { concatenate, scope, zerosLike } from "@mflux-depth/mlx";
import { ModelError } from "../../errors.js";
import type { AdapterFile } from "../../weights/adapters/adapter-file.js";
import type { Checkpoint } from "../../weights/format.js";
import type { ControlLora } from "../family.js";
import { baseRefusal } from "./recognise.js";

/** The tensors of the input layer, dense or quantized; all have the inputs on their last axis. */
const inputTensors: ReadonlySet<string> = new Set([
  "x_embedder.weight",
  "x_embedder.scales",
  "x_embedder.biases",
]);

export const controlLora: ControlLora = {
  matches({ modules, strays }: AdapterFile) {
    return (
      modules.some(({ name }) => /^((model\.)?diffusion_model\.)?img_in$/.test(name)) &&
      strays.some((key) => /\.query_norm\.scale(\.set_weight)?$/.test(key))
    );
  },
  writtenBy: "Black Forest Labs",
  baseRefusal,
  widenConfig(config, source) {
    const { in_channels: channels, out_channels: out } = config;
    if (typeof channels !== "number")
      throw new ModelError(source, "in_channels is missing, so the input layer cannot be widened");
    return { ...config, in_channels: 2 * channels, out_channels: out ?? channels };
  },
  widen(checkpoint): Checkpoint {
    const entries = new Map(
      Array.from(checkpoint.entries, ([name, entry]) => {
        if (!inputTensors.has(name)) return [name, entry] as const;
        const [rows = 0, columns = 0] = entry.shape;
        return [name, { ...entry, shape: [rows, 2 * columns] }] as const;
      }),
    );
    return {
      ...checkpoint,
      entries,
      *tensors() {
        for (const [name, tensor] of checkpoint.tensors()) {
          if (!inputTensors.has(name)) {
            yield [name, tensor];
            continue;
          }
          // Control latents follow the latents, and zeros keep them from affecting the original model.
          const widened = scope(() => concatenate([tensor, zerosLike(tensor)], 1));
          tensor.dispose();
          yield [name, widened];
        }
      },
    };
  },
};
