import type { Json, JsonOptions } from "@mflux-depth/server/contract";

/** A LoRA of a job. */
export interface ChosenLora {
  readonly source: string;
  /** 1 is as it was trained, 0 is without it. */
  readonly scale: number;
}

/** LoRAs as `load` names them, with the scales of a request where it has its own. */
export function lorasOf(loras: Json, scales: Json | undefined): ChosenLora[] {
  if (!Array.isArray(loras)) return [];
  return loras.flatMap((lora: Json, i) => {
    const { source, scale } = typeof lora === "string" ? { source: lora, scale: 1 } : (lora as JsonOptions);
    const own: Json | undefined = Array.isArray(scales) ? scales[i] : undefined;
    if (typeof source !== "string") return [];
    return [{ source, scale: typeof own === "number" ? own : typeof scale === "number" ? scale : 1 }];
  });
}
