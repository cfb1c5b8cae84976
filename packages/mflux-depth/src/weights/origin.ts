import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { readConfig } from "../files/json.js";
import { isRecord } from "../record.js";

/** The file in which a saved model names the model that it was made from. */
export const originFile = "mflux-depth.json";

/** The model that a saved one was made from. */
export interface Origin {
  /** The name it was requested by. */
  readonly model: string;
  readonly revision: string | null;
  readonly loras: readonly SavedLora[];
}

/** A LoRA that was saved next to a model's weights, in a file of its own. */
export interface SavedLora {
  /** The name of its file: "style.safetensors". */
  readonly name: string;
  /** The path of its file. */
  readonly source: string;
  readonly scale: number;
}

/** The folder of a saved model's n-th LoRA, from 0. */
export const savedLoraFolder = (index: number): string => join("loras", `${index}`);

/** Reads the origin of a model that mflux-depth saved; null if the folder does not name one. */
export function originOf(folder: string): Origin | null {
  if (!existsSync(join(folder, originFile))) return null;
  const { model, revision, loras } = readConfig(folder, originFile);
  if (typeof model !== "string") return null;
  return {
    model,
    revision: typeof revision === "string" ? revision : null,
    loras: Array.isArray(loras) ? loras.flatMap((lora, index) => separateLora(lora, folder, index)) : [],
  };
}

/** A LoRA with a file of its own; those that are merged into the weights have none. */
function separateLora(lora: unknown, folder: string, index: number): readonly SavedLora[] {
  if (!isRecord(lora) || typeof lora.file !== "string" || typeof lora.scale !== "number") return [];
  const name = basename(lora.file);
  return [{ name, source: join(folder, savedLoraFolder(index), name), scale: lora.scale }];
}
