import type { Json, JsonOptions } from "@mflux-depth/server/contract";

/** A LoRA of a job. */
export interface ChosenLora {
  readonly source: string;
  /** 1 is the trained strength, 0 disables it. */
  readonly scale: number;
}

/** The LoRAs of `load`, with the request's scales if it has any. */
export function lorasOf(loras: Json, scales: Json | undefined): ChosenLora[] {
  if (!Array.isArray(loras)) return [];
  const chosen = Array.isArray(scales) ? scales.slice(savedScales(loras, scales).length) : [];
  return loras.flatMap((lora: Json, i) => {
    const { source, scale } = typeof lora === "string" ? { source: lora, scale: 1 } : (lora as JsonOptions);
    const own: Json | undefined = chosen[i];
    if (typeof source !== "string") return [];
    return [{ source, scale: typeof own === "number" ? own : typeof scale === "number" ? scale : 1 }];
  });
}

/** The scales of the LoRAs in the model's own folder: a request lists them before those of `load`. */
export const savedScales = (loras: Json, scales: Json | undefined): Json[] =>
  Array.isArray(loras) && Array.isArray(scales)
    ? scales.slice(0, Math.max(0, scales.length - loras.length))
    : [];
