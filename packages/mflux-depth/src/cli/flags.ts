/*
 * Flags made from the tables of options: reading them, and their help.
 */
import { OptionError } from "../errors.js";
import { describeKind, nearest, type OptionSpec, parseOption } from "../options/index.js";

export type FlagTable = Readonly<Record<string, OptionSpec>>;

export interface Flags {
  /** Values by the option's name; lists for options that take many. What was not given is absent. */
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
}

/** Every command has it. */
export const helpFlag = {
  kind: { type: "boolean" },
  text: "Show this text.",
  flags: ["--help", "-h"],
} as const satisfies OptionSpec;

/** Whether an argument is written like a flag; a negative number and a lone dash are values. */
const looksLikeFlag = (argument: string): boolean =>
  /^-/.test(argument) && argument !== "-" && !/^-[\d.]/.test(argument);

/**
 * Reads flags: `--name value`, `--name=value`, `-n value`, `-nvalue`; `--no-name` says no; `--` ends them. The last of
 * several wins, but for options that take many. Flags are not abbreviated.
 * @param env replaces defaults of options that name a variable.
 * @throws {OptionError} for an unknown flag (with the nearest), a missing value, or a value outside the range.
 */
export function parseFlags(
  table: FlagTable,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Flags {
  const byFlag = new Map<string, readonly [name: string, spec: OptionSpec]>();
  for (const [name, spec] of Object.entries(table))
    for (const flag of spec.flags) byFlag.set(flag, [name, spec]);

  const values: Record<string, unknown> = {};
  for (const [name, { env: variable, kind }] of Object.entries(table)) {
    const text = variable && env[variable];
    if (text) values[name] = parseOption(variable, kind, text);
  }
  const positionals: string[] = [];
  const given = new Set<string>();

  const queue = [...argv];
  while (queue.length > 0) {
    const argument = queue.shift()!;
    if (argument === "--") {
      positionals.push(...queue);
      break;
    }
    if (!looksLikeFlag(argument)) {
      positionals.push(argument);
      continue;
    }
    const { flag, attached } = split(argument, byFlag);
    const [name, spec] = byFlag.get(flag) ?? unknownFlag(flag, byFlag.keys());
    if (spec.kind.type === "boolean") {
      const said = attached === undefined || parseOption(flag, spec.kind, attached) === true;
      values[name] = flag.startsWith("--no-") ? !said : said;
      continue;
    }
    const texts = attached !== undefined ? [attached] : takeValues(queue, spec.many === true);
    if (texts.length === 0) throw new OptionError(flag, `${flag} needs a value: ${describeValue(spec)}.`);
    const read = texts.map((text) => parseOption(flag, spec.kind, text));
    const before = spec.many && given.has(name) ? (values[name] as unknown[]) : [];
    values[name] = spec.many ? [...before, ...read] : read[0];
    given.add(name);
  }
  return { values, positionals };
}

/** `--name=value` and `-nvalue` into flag and value. */
function split(
  argument: string,
  known: ReadonlyMap<string, unknown>,
): { flag: string; attached: string | undefined } {
  const equals = argument.indexOf("=");
  if (argument.startsWith("--"))
    return equals < 0
      ? { flag: argument, attached: undefined }
      : { flag: argument.slice(0, equals), attached: argument.slice(equals + 1) };
  const short = argument.slice(0, 2);
  if (argument.length > 2 && known.has(short))
    return { flag: short, attached: argument.slice(2).replace(/^=/, "") };
  return { flag: argument, attached: undefined };
}

function takeValues(queue: string[], many: boolean): string[] {
  const taken: string[] = [];
  while (queue.length > 0 && !looksLikeFlag(queue[0]!) && (many || taken.length === 0))
    taken.push(queue.shift()!);
  return taken;
}

const describeValue = ({ kind }: OptionSpec): string =>
  kind.type === "image" || kind.type === "tensor" ? "the path of a file" : describeKind(kind);

function unknownFlag(flag: string, known: Iterable<string>): never {
  const near = nearest(flag, known);
  throw new OptionError(
    flag,
    `There is no flag ${flag}${near ? `; did you mean ${near}?` : "; --help lists those there are."}`,
  );
}

/** @throws {OptionError} when a command that takes no other arguments is given some. */
export function refusePositionals(positionals: readonly string[]): void {
  const [first] = positionals;
  if (first !== undefined)
    throw new OptionError(
      first,
      `${JSON.stringify(first)} is not a flag, and no other argument is expected here.`,
    );
}

/** The help of some flags: a heading, then flag and value, text, range and default. */
export function describeFlags(heading: string, table: FlagTable): string {
  const entries = Object.values(table).filter((spec) => spec.flags.length > 0);
  const left = entries.map((spec) => {
    const value = spec.kind.type === "boolean" ? "" : ` ${spec.value ?? "VALUE"}${spec.many ? " …" : ""}`;
    return `  ${spec.flags.join(", ")}${value}`;
  });
  const lines = entries.map((spec, i) => `${left[i]}\n${wrap(`${spec.text}${facts(spec)}`, 8, 88)}`);
  return `${heading}\n${lines.join("\n")}\n`;
}

/** " 1 to 50; default 20." */
function facts({ kind, default: fallback, defaultText, env }: OptionSpec): string {
  const parts: string[] = [];
  if (kind.type === "integer" || kind.type === "number" || kind.type === "choice")
    parts.push(describeKind(kind).replace(/^a /, ""));
  if (kind.type !== "boolean" && (fallback !== undefined || defaultText))
    parts.push(`default ${defaultText ?? fallback}`);
  if (env) parts.push(`environment ${env}`);
  const text = parts.join("; ");
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
