/*
 * The LoRAs of the next image: those that the server offers, and how strongly each one counts.
 */
import type { Json, JsonOptions } from "@mflux-depth/server/contract";
import { batch, computed } from "@preact/signals";
import { capabilities, models } from "./capabilities.js";
import { draft, setLoadOption, setOption } from "./draft.js";

export interface ChosenLora {
  readonly source: string;
  /** 1 is as it was trained, 0 is without it. */
  readonly scale: number;
}

/** The names of the LoRAs that can be chosen. */
export const offeredLoras = computed<readonly string[]>(() =>
  models.value.filter(({ lora, ready }) => lora && ready).map(({ id }) => id),
);

/** Those of the next image; the server's own where the person has chosen none. */
export const chosenLoras = computed<readonly ChosenLora[]>(() =>
  lorasOf(
    draft.value.load.loras ?? ((capabilities.value?.defaults.loras ?? []) as Json),
    draft.value.request.lora_scales,
  ),
);

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

/** Chooses a LoRA, changes its scale, or with null leaves it out. */
export function setLora(source: string, scale: number | null): void {
  const before = chosenLoras.value;
  const isChosen = before.some((lora) => lora.source === source);
  const others = before.filter((lora) => scale !== null || lora.source !== source);
  const after =
    scale === null || isChosen
      ? others.map((lora) => (lora.source === source ? { source, scale: scale ?? lora.scale } : lora))
      : [...before, { source, scale }];
  batch(() => {
    setLoadOption(
      "loras",
      after.map(({ source, scale }) => ({ source, scale })),
    );
    // They are one for each LoRA, in their order.
    setOption("lora_scales", undefined);
  });
}
