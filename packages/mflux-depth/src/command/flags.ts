/* Reads flags according to the tables of options. */
import { OptionError } from "../errors.js";
import {
  type AdapterInput,
  type AdapterReference,
  checkOption,
  describeKind,
  nearest,
  type OptionKind,
  type OptionSpec,
  type OptionTable,
  parseOption,
  type ValueOfKind,
} from "../options/index.js";

/** Command lines give models, images and tensors by repository or path. */
type FlagValue<K extends OptionKind> = K extends { type: "model" | "image" | "tensor" }
  ? string
  : ValueOfKind<K>;

/** The values of flags by option name, as lists for options that take many. Flags that were not given are absent. */
export type FlagValues<T extends OptionTable> = {
  readonly [K in keyof T]?: T[K] extends { many: true }
    ? readonly FlagValue<T[K]["kind"]>[]
    : FlagValue<T[K]["kind"]>;
};

export interface Flags<T extends OptionTable> {
  readonly values: FlagValues<T>;
  readonly positionals: readonly string[];
}

/**
 * Reads flags: `--name value`, `--name=value`, `-n value`, `-nvalue`; `--no-name` means false; `--` ends them. Of
 * repeated flags the last wins; options that take many collect them. Flags cannot be abbreviated.
 * @param env replaces defaults of options that name a variable.
 * @throws {OptionError} for an unknown flag (suggesting the nearest), a missing value, or a value outside the range.
 */
export function parseFlags<T extends OptionTable>(
  table: T,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Flags<T> {
  const byFlag = new Map<string, readonly [name: string, spec: OptionSpec]>();
  for (const [name, spec] of Object.entries(table))
    for (const flag of spec.flags) byFlag.set(flag, [name, spec]);

  const values = valuesFrom(env, table);
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
    const takesMany = spec.many === true || spec.kind.type === "adapters";
    const texts = attached !== undefined ? [attached] : takeValues(queue, takesMany);
    if (texts.length === 0) {
      const expected = describeValue(spec);
      const followsDash = queue.length > 0 && !byFlag.has(queue[0]!.split("=", 1)[0]!);
      const hint = followsDash ? ` If it begins with a dash, write ${flag}=VALUE.` : "";
      throw new OptionError(flag, `${flag} needs a value: ${expected}.${hint}`, {
        code: "option-missing",
        details: { expected },
      });
    }
    const read =
      spec.kind.type === "adapters"
        ? readAdapters(flag, spec.kind, texts)
        : texts.map((text) => parseOption(flag, spec.kind, text));
    const before = takesMany && given.has(name) ? (values[name] as unknown[]) : [];
    values[name] = takesMany ? [...before, ...read] : read[0];
    given.add(name);
  }
  return { values: values as FlagValues<T>, positionals };
}

/** Reads adapters from the command line, where a scale may follow each source. */
function readAdapters(flag: string, kind: OptionKind, texts: readonly string[]): readonly AdapterInput[] {
  const adapters: AdapterReference[] = [];
  for (const text of texts) {
    const last = adapters.at(-1);
    const isScale = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
    if (isScale && last && last.scale === undefined) adapters.splice(-1, 1, { ...last, scale: Number(text) });
    else adapters.push({ source: text });
  }
  return checkOption(flag, kind, adapters) as readonly AdapterInput[];
}

/** The values of those flags that belong to one of several tables. */
export const pick = <T extends OptionTable>(values: FlagValues<T>, table: T): FlagValues<T> =>
  Object.fromEntries(Object.entries(values).filter(([name]) => name in table)) as FlagValues<T>;

/** The values of options whose environment variable is set. */
function valuesFrom(
  env: Readonly<Record<string, string | undefined>>,
  table: OptionTable,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, { env: variable, kind }] of Object.entries(table)) {
    const text = variable && env[variable];
    if (text) values[name] = parseOption(variable, kind, text);
  }
  return values;
}

/** Whether an argument looks like a flag; negative numbers and a lone dash are values. */
const looksLikeFlag = (argument: string): boolean =>
  /^-/.test(argument) && argument !== "-" && !/^-[\d.]/.test(argument);

/** Splits `--name=value` and `-nvalue` into flag and value. */
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
  const suggestion = nearest(flag, known);
  throw new OptionError(
    flag,
    `There is no flag ${flag}${suggestion ? `; did you mean ${suggestion}?` : "; --help lists the flags."}`,
    { code: "option-unknown", details: suggestion === undefined ? {} : { suggestion } },
  );
}

/** @throws {OptionError} if a command that takes no arguments gets some. */
export function refusePositionals(positionals: readonly string[]): void {
  const [first] = positionals;
  if (first !== undefined)
    throw new OptionError(
      first,
      `${JSON.stringify(first)} is not a flag, and this command takes no other arguments.`,
      { code: "option-unknown" },
    );
}
