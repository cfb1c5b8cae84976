/* Formats values as literals of other languages. */
import type { Json } from "@mflux-depth/server/contract";

/** Quotes a word for a POSIX shell. */
export const shell = (text: string): string =>
  /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** JSON is JavaScript. */
export const javascript = (value: Json): string => JSON.stringify(value);

/** JSON is valid Python except for three words. */
export function python(value: Json): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  const entries = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item)}`);
  return `{${entries.join(", ")}}`;
}
