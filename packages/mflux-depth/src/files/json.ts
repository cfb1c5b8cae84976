import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isRecord } from "../record.js";
import { FileReadError, readRegularFileSync } from "./read.js";

/** The most bytes that a JSON or text file of a repository may have; the largest vocabularies have a third of it. */
export const largestText = 100e6;

/**
 * Reads a text file of a repository.
 * @throws {ModelError} when it is missing, no regular file, or larger than {@link largestText}.
 */
export function readText(path: string): string {
  try {
    return readRegularFileSync(path, largestText).toString("utf8");
  } catch (error) {
    if (!(error instanceof FileReadError)) throw error;
    const reason = error.problem === "missing" ? "this file is missing" : error.message;
    throw new ModelError(path, reason, { cause: error });
  }
}

/**
 * Reads a JSON file of a repository.
 * @throws {ModelError} as {@link readText}, and when it is not a JSON object.
 */
export function readConfig(folder: string, file: string): Record<string, unknown> {
  const path = join(folder, file);
  const text = readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ModelError(path, `this is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isRecord(value)) throw new ModelError(path, "expected a JSON object");
  return value;
}
