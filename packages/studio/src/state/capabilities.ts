/* What this server can do, and its models. */
import type { CapabilitiesObject, ModelObject } from "@mflux-depth/server/contract";
import { computed, signal } from "@preact/signals";
import { api } from "./api.js";
import { draft } from "./draft.js";
import { type Field, fieldNamed, fieldsOf } from "./fields.js";

export const capabilities = signal<CapabilitiesObject | null>(null);
export const models = signal<readonly ModelObject[]>([]);

export async function readCapabilities(): Promise<void> {
  [capabilities.value, models.value] = await Promise.all([api.capabilities(), api.models()]);
}

export const requestFields = computed<readonly Field[]>(() =>
  capabilities.value ? fieldsOf(capabilities.value.kinds.generate) : [],
);
export const loadFields = computed<readonly Field[]>(() =>
  capabilities.value ? fieldsOf(capabilities.value.load) : [],
);

/** The bundled model, which draws squares of this side best. */
const bundled = { model: "tiny-world", side: 256 };

/** The model that the next job uses. */
export const model = computed<string | null>(() => {
  const chosen = draft.value.load.model ?? capabilities.value?.defaults.model;
  return typeof chosen === "string" ? chosen : null;
});

export const isBundled = computed(() => model.value === bundled.model);

/** The area of images in pixels, unless the person chooses a size. */
export const usualArea = computed<number>(() => {
  if (isBundled.value) return bundled.side ** 2;
  const side = (name: string): number => {
    const fallback = fieldNamed(requestFields.value, name)?.default;
    return typeof fallback === "number" ? fallback : 1024;
  };
  return side("width") * side("height");
});
