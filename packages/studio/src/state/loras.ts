/* The LoRAs of the next image: those that the server offers, and their scales. */
import type { Json, JsonOptions } from "@mflux-depth/server/contract";
import { batch, computed } from "@preact/signals";
import { type ChosenLora, lorasOf, savedScales } from "../options/loras.js";
import { capabilities, models } from "./capabilities.js";
import { draft, setLoadOption, setOption } from "./draft.js";

/** The names of the available LoRAs. */
export const offeredLoras = computed<readonly string[]>(() =>
  models.value.filter(({ lora, ready }) => lora && ready).map(({ id }) => id),
);

const defaultLoras = (): Json => (capabilities.value?.defaults.loras ?? []) as Json;

/** The LoRAs of the next image; the server's defaults if the person has chosen none. */
export const chosenLoras = computed<readonly ChosenLora[]>(() =>
  lorasOf(draft.value.load.loras ?? defaultLoras(), draft.value.request.lora_scales),
);

/** Chooses a LoRA, changes its scale, or removes it if the scale is null. */
export function setLora(source: string, scale: number | null): void {
  const { load, request } = draft.value;
  const saved = savedScales(load.loras ?? defaultLoras(), request.lora_scales);
  const chosen = withScale(chosenLoras.value, source, scale);
  batch(() => {
    setLoadOption("loras", chosen);
    // Scales follow the order of the LoRAs; those of the model's own LoRAs are kept.
    const scales = [...saved, ...chosen.map((lora) => lora.scale ?? 1)];
    setOption("lora_scales", saved.length > 0 ? scales : undefined);
  });
}

function withScale(loras: readonly ChosenLora[], source: string, scale: number | null): JsonOptions[] {
  const copies = loras.map((lora) => ({ ...lora }));
  if (scale === null) return copies.filter((lora) => lora.source !== source);
  return copies.some((lora) => lora.source === source)
    ? copies.map((lora) => (lora.source === source ? { source, scale } : lora))
    : [...copies, { source, scale }];
}
