import { dinov2Key } from "../dinov2.js";
import type { DepthProConfig } from "./config.js";

/** Tensors in files that the model never uses. */
const unusedKeys = [/\.num_batches_tracked$/, /^fusion_stage\.intermediate\.0\.residual_layer1\./];

/** Maps a tensor's name in files to the model's; null if a model with this config does not use it. */
export function depthProKey(config: DepthProConfig): (key: string) => string | null {
  return (key) => {
    if (unusedKeys.some((unused) => unused.test(key))) return null;
    if (!config.useFovModel && key.startsWith("fov_model.")) return null;
    return dinov2Key(key);
  };
}
