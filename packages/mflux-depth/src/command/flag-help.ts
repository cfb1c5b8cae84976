/* Makes the help text of flags from the tables of options. */
import { describeKind, type OptionSpec, type OptionTable } from "../options/index.js";

/** Help for flags: a heading, then for each flag its forms, value, text, range and default. */
export function describeFlags(heading: string, table: OptionTable): string {
  const lines = Object.values(table)
    .filter(({ flags }) => flags.length > 0)
    .map((spec) => `  ${formOf(spec)}\n${wrap(`${spec.text}${repetition(spec)}${facts(spec)}`, 8, 88)}`);
  return `${heading}\n${lines.join("\n")}\n`;
}

/** "--quantize, -q BITS". */
function formOf({ flags, kind, value = "VALUE", many }: OptionSpec): string {
  const names = flags.join(", ");
  return kind.type === "boolean" ? names : `${names} ${value}${many ? " …" : ""}`;
}

const repetition = ({ kind }: OptionSpec): string =>
  kind.type === "adapters" ? " Repeat the flag for more." : "";

/** " Whole number from 1 to 50; default 20." */
function facts({ kind, default: fallback, defaultText, env }: OptionSpec): string {
  const known: string[] = [];
  if (kind.type === "integer" || kind.type === "number" || kind.type === "choice")
    known.push(describeKind(kind).replace(/^a /, ""));
  if (kind.type !== "boolean" && (fallback !== undefined || defaultText))
    known.push(defaultText ? `default: ${defaultText}` : `default ${fallback}`);
  if (env) known.push(`environment ${env}`);
  const text = known.join("; ");
  return text && ` ${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

function wrap(text: string, indent: number, width: number): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line && indent + line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.map((line) => " ".repeat(indent) + line).join("\n");
}
