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
  return loras.flatMap((lora: Json, i) => {
    const { source, scale } = typeof lora === "string" ? { source: lora, scale: 1 } : (lora as JsonOptions);
    const own: Json | undefined = Array.isArray(scales) ? scales[i] : undefined;
    if (typeof source !== "string") return [];
    return [{ source, scale: typeof own === "number" ? own : typeof scale === "number" ? scale : 1 }];
  });
}
