import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isRecord } from "../record.js";
import { FileReadError, readRegularFileSync } from "./read.js";

/** The maximum size of a model's text file in bytes: three times the largest vocabulary. */
const largestText = 100e6;

/**
 * Reads a text file of a model.
 * @throws {ModelError} naming the file if it is missing, not a regular file, unreadable or larger than 100 MB.
 */
export function readText(folder: string, file: string): string {
  const path = join(folder, file);
  try {
    return readRegularFileSync(path, largestText).toString("utf8");
  } catch (error) {
    if (!(error instanceof FileReadError)) throw error;
    const missing = error.problem === "missing";
    throw new ModelError(path, missing ? "this file is missing, so the model is incomplete" : error.message, {
      cause: error,
    });
  }
}

/**
 * Reads a JSON file of a model.
 * @throws {ModelError} as {@link readText}, and naming the file if it does not contain a JSON object.
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
