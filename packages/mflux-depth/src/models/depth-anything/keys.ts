import { dinov2Key } from "../dinov2.js";

/** Maps a tensor's name in files to the model's; null if the model does not use it. */
export const depthAnythingKey = (key: string): string | null =>
  key.startsWith("neck.fusion_stage.layers.0.residual_layer1.") ? null : dinov2Key(key);
