/*
 * The LoRAs of the next image: those that the server offers, and how strongly each one counts.
 */
import type { Json, JsonOptions } from "@mflux-depth/server/contract";
import { batch, computed } from "@preact/signals";
import { type ChosenLora, lorasOf } from "../options/loras.js";
import { capabilities, models } from "./capabilities.js";
import { draft, setLoadOption, setOption } from "./draft.js";

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

/** Chooses a LoRA, changes its scale, or with null leaves it out. */
export function setLora(source: string, scale: number | null): void {
  batch(() => {
    setLoadOption("loras", withScale(chosenLoras.value, source, scale));
    // They are one for each LoRA, in their order.
    setOption("lora_scales", undefined);
  });
}

function withScale(loras: readonly ChosenLora[], source: string, scale: number | null): JsonOptions[] {
  const copies = loras.map((lora) => ({ ...lora }));
  if (scale === null) return copies.filter((lora) => lora.source !== source);
  return copies.some((lora) => lora.source === source)
    ? copies.map((lora) => (lora.source === source ? { source, scale } : lora))
    : [...copies, { source, scale }];
}
