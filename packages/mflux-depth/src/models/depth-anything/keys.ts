import { dinov2Key } from "../dinov2.js";

/** Maps a file's name of a tensor to the model's; null if the model does not use the tensor. */
export const depthAnythingKey = (key: string): string | null =>
  key.startsWith("neck.fusion_stage.layers.0.residual_layer1.") ? null : dinov2Key(key);
