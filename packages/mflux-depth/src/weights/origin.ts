import { existsSync } from "node:fs";
import { join } from "node:path";
import { readConfig } from "../files/json.js";

/** The file in which a saved model names the model it was made from. */
export const originFile = "mflux-depth.json";

/** The model that a saved one was made from. */
export interface Origin {
  /** The name it was requested by. */
  readonly model: string;
  readonly revision: string | null;
}

/** Reads the origin of a model that mflux-depth saved; null if the folder does not name one. */
export function originOf(folder: string): Origin | null {
  if (!existsSync(join(folder, originFile))) return null;
  const { model, revision } = readConfig(folder, originFile);
  if (typeof model !== "string") return null;
  return { model, revision: typeof revision === "string" ? revision : null };
}
