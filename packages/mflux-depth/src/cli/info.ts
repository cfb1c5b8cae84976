import { existsSync } from "node:fs";
import { type Command, describeFlags, parseFlags } from "../command/index.js";
import { ImageError, OptionError } from "../errors.js";
import { FileReadError, readRegularFile } from "../files/read.js";
import { inspectImage } from "../images/decode.js";
import { isTooDeep, mostLevels, readParameters, sidecarPath } from "../images/metadata.js";
import type { OptionTable } from "../options/index.js";
import { isRecord } from "../record.js";
import { helpFlag, jsonFlag } from "./common-flags.js";
import { printableJson, printableLine } from "./printable.js";

const flags = { json: jsonFlag("JSON"), help: helpFlag } as const satisfies OptionTable;

export const info: Command = {
  usage: `Usage: mflux-depth info FILE [--json]

Prints the parameters an image was made with: those inside a PNG, JPEG or WebP written by mflux-depth or mflux, or those
in the .metadata.json file next to it if it has none.

${describeFlags("Flags", flags)}`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv);
    const [path, ...others] = positionals;
    if (path === undefined || others.length > 0)
      throw new OptionError("file", "Specify one image: mflux-depth info FILE.", { code: "option-missing" });
    const { file, parameters } = await read(path, io.signal);
    if (parameters === undefined)
      throw new ImageError(
        path,
        "contains no parameters, and there is no .metadata.json file next to it; only images written by mflux-depth or mflux have them.",
      );
    if (isTooDeep(parameters))
      throw new ImageError(
        path,
        `its parameters are nested more than ${mostLevels} levels deep; they are not those of an image.`,
      );
    io.stdout.write(
      values.json ? `${printableJson({ file, parameters })}\n` : print({ ...file, ...parameters }),
    );
    return 0;
  },
};

type Fields = Readonly<Record<string, unknown>>;

async function read(
  path: string,
  signal: AbortSignal,
): Promise<{ file: Fields; parameters: Fields | undefined }> {
  if (path.toLowerCase().endsWith(".json"))
    return { file: { path }, parameters: await readSidecar(path, signal) };
  const { format, width, height, exif } = await inspectImage(path);
  const sidecar = sidecarPath(path);
  const parameters =
    readParameters(exif) ?? (existsSync(sidecar) ? await readSidecar(sidecar, signal) : undefined);
  return { file: { path, format, size: `${width} × ${height}` }, parameters };
}

/** The maximum size of a parameters file in bytes. */
const largestSidecar = 10e6;

async function readSidecar(path: string, signal: AbortSignal): Promise<Fields> {
  const text = await readRegularFile(path, { limit: largestSidecar, signal }).catch((error: unknown) => {
    if (!(error instanceof FileReadError)) throw error;
    throw new ImageError(path, `${error.message}.`, {
      code: error.problem === "missing" ? "image-not-found" : "image-unusable",
      cause: error,
    });
  });
  const value = parseJson(text.toString("utf8"));
  if (!isRecord(value)) throw new ImageError(path, "is not a JSON object.");
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Prints one field per line, and omits fields that are `null`. */
function print(fields: Fields): string {
  const shown = (value: unknown): string =>
    typeof value === "string" ? printableLine(value) : printableJson(value);
  const lines = Object.entries(fields)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [printableLine(name), shown(value)] as const);
  const width = lines.reduce((widest, [name]) => Math.max(widest, name.length), 0);
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}
