import { readFile } from "node:fs/promises";
import { ImageError, OptionError } from "../errors.js";
import { inspectImage } from "../images/decode.js";
import type { OptionSpec } from "../options/index.js";
import { readParameters } from "../pipeline/metadata.js";
import type { Command } from "./command.js";
import { describeFlags, helpFlag, parseFlags } from "./flags.js";

const flags = {
  json: { kind: { type: "boolean" }, text: "Print JSON.", flags: ["--json"] },
  help: helpFlag,
} as const satisfies Record<string, OptionSpec>;

export const info: Command = {
  name: "info",
  summary: "Print the parameters inside a picture",
  usage: `Usage: mflux-depth info FILE [--json]

Prints what a picture was made from: the parameters inside a PNG, JPEG or WebP written by mflux-depth or mflux, or
those in a .metadata.json beside it.

${describeFlags("Flags", flags)}`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv);
    const [path, ...others] = positionals;
    if (path === undefined || others.length > 0)
      throw new OptionError("file", "Name one picture: mflux-depth info FILE.");
    const { file, parameters } = await read(path);
    if (parameters === undefined)
      throw new ImageError(path, "has no parameters inside; only pictures by mflux-depth and mflux have.");
    io.stdout.write(
      values.json ? `${JSON.stringify({ file, parameters })}\n` : print({ ...file, ...parameters }),
    );
    return 0;
  },
};

type Fields = Readonly<Record<string, unknown>>;

async function read(path: string): Promise<{ file: Fields; parameters: Fields | undefined }> {
  if (path.toLowerCase().endsWith(".json")) return { file: { path }, parameters: await readSidecar(path) };
  const { format, width, height, exif } = await inspectImage(path);
  return { file: { path, format, size: `${width} × ${height}` }, parameters: readParameters(exif) };
}

async function readSidecar(path: string): Promise<Fields> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    throw new ImageError(
      path,
      code === "ENOENT" ? "there is no such file." : `cannot be read (${code ?? error}).`,
    );
  });
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  } catch {
    // Said below.
  }
  throw new ImageError(path, "holds no JSON object.");
}

/** One field a line; `null` means that a thing was not used, and is left out. */
function print(fields: Fields): string {
  const known = Object.entries(fields).filter(([, value]) => value !== null);
  const width = Math.max(...known.map(([name]) => name.length));
  const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return known.map(([name, value]) => `${name.padEnd(width)}  ${shown(value)}\n`).join("");
}
