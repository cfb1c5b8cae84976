import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isRecord } from "../record.js";

/**
 * Reads a text file of a model.
 * @throws {ModelError} naming the file if it is missing or unreadable.
 */
export function readText(folder: string, file: string): string {
  const path = join(folder, file);
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new ModelError(
      path,
      missing
        ? "this file is missing, so the model is incomplete"
        : `this file cannot be read (${(error as Error).message})`,
      { cause: error },
    );
  }
}

/**
 * Reads a JSON file of a model.
 * @throws {ModelError} naming the file if it is missing or does not contain a JSON object.
 */
export function readConfig(folder: string, file: string): Record<string, unknown> {
  const path = join(folder, file);
  const text = readText(folder, file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ModelError(path, `this is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isRecord(value)) throw new ModelError(path, "expected a JSON object");
  return value;
}
