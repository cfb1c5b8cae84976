/* Converts NodeTool's `hf.flux_depth` value to a model of the library. */
import { OptionError } from "mflux-depth/errors";
import { isRecord, type ModelReference } from "mflux-depth/options";
import { defaultModel } from "../properties.js";

/**
 * Accepts an `hf.flux_depth` value, its older type name, or a repository's name. `path` is the model's folder in the
 * repository; without a repository, a folder on this machine.
 * @throws {OptionError} naming the invalid field.
 */
export function modelOf(value: unknown): string | ModelReference {
  if (value === undefined || value === null || value === "") return defaultModel;
  if (typeof value === "string") return value;
  if (!isRecord(value)) throw new OptionError("model", "model must be a model with a repo_id.");
  const field = (name: string): string => {
    const text = value[name] ?? "";
    if (typeof text !== "string") throw new OptionError("model", `model.${name} must be a string.`);
    return text.trim();
  };
  const [repository, path, variant] = [field("repo_id"), field("path"), field("variant")];
  const name = repository || path || defaultModel;
  const rest = {
    ...(repository !== "" && path !== "" && { path }),
    ...(variant !== "" && { variant }),
    ...patternsIn("model", value),
  };
  return Object.keys(rest).length === 0 ? name : { repo_id: name, ...rest };
}

type PatternName = "allow_patterns" | "ignore_patterns";

/**
 * The patterns of a model or a download. A string counts as a list with one pattern.
 * @throws {OptionError} naming the property.
 */
export function patternsIn(
  property: string,
  value: Readonly<Record<string, unknown>>,
): Partial<Record<PatternName, readonly string[]>> {
  const patterns: Partial<Record<PatternName, readonly string[]>> = {};
  for (const name of ["allow_patterns", "ignore_patterns"] as const) {
    const given = value[name] ?? [];
    const list: unknown[] = Array.isArray(given) ? given : [given];
    if (!list.every((pattern) => typeof pattern === "string"))
      throw new OptionError(property, `${property}.${name} must be a list of strings.`);
    const texts = list.filter((pattern) => pattern !== "");
    if (texts.length > 0) patterns[name] = texts;
  }
  return patterns;
}
