import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isRecord } from "../record.js";

/**
 * Reads a JSON file of a repository.
 * @throws {ModelError} when it is missing or is not a JSON object.
 */
export function readConfig(folder: string, file: string): Record<string, unknown> {
  const path = join(folder, file);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new ModelError(
      path,
      missing ? "this file is missing" : `it cannot be read (${(error as Error).message})`,
      {
        cause: error,
      },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ModelError(path, `this is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isRecord(value)) throw new ModelError(path, "expected a JSON object");
  return value;
}
