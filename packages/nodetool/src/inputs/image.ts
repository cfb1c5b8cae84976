/* Converts the forms in which hosts send images to the bytes of a file or its path on this machine. */
import { fileURLToPath } from "node:url";
import { OptionError } from "mflux-depth/errors";
import { isRecord } from "mflux-depth/options";

interface ImageProperty {
  /** The property's name. */
  readonly name: string;
  readonly value: unknown;
  readonly blob: unknown;
  /** Whether the host may name files, because it runs on this machine as the same user. */
  readonly localFiles: boolean;
}

/**
 * The image of a property: its blob, else the field itself (bytes, base64, a data URI, or the address of a file).
 * @returns the bytes of a file, or its path; null when the property is not set.
 * @throws {OptionError} naming the property.
 */
export function imageOf({ name, value, blob: sent, localFiles }: ImageProperty): Uint8Array | string | null {
  const blob = single(name, sent);
  if (blob !== null) return bytesOf(name, blob);
  const field = single(name, value);
  if (field === null || field === "") return null;
  if (typeof field === "string" && /^file:/i.test(field)) return pathOf(name, field, localFiles);
  if (!isRecord(field)) return bytesOf(name, field);
  const data = single(name, field.data);
  if (data !== null && data !== "") return bytesOf(name, data);
  const { uri } = field;
  if (typeof uri === "string" && uri.startsWith("data:")) return bytesOf(name, uri);
  if (typeof uri === "string" && uri !== "")
    throw new OptionError(
      name,
      `${name} could not be loaded by NodeTool: ${JSON.stringify(uri.slice(0, 200))} came without its bytes.`,
    );
  return null;
}

/** Unwraps a list with one image. */
function single(name: string, value: unknown): unknown {
  if (!Array.isArray(value)) return value ?? null;
  if (value.length > 1) throw new OptionError(name, `${name} holds ${value.length} images; give one.`);
  return value[0] ?? null;
}

/** The path in a file URL. */
function pathOf(name: string, address: string, localFiles: boolean): string {
  const shown = JSON.stringify(address.slice(0, 200));
  if (!localFiles)
    throw new OptionError(
      name,
      `${name} is the address of a file, ${shown}, but a host connected over WebSocket cannot name files. Connect the image itself.`,
    );
  try {
    return fileURLToPath(address);
  } catch (error) {
    throw new OptionError(name, `${name} is not the address of a file on this machine: ${shown}.`, {
      cause: error,
    });
  }
}

function bytesOf(name: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "string")
    throw new OptionError(name, `${name} must be an image: its bytes, base64, or a data URI.`);
  const uri = /^data:([^,]*),/.exec(value);
  const encoded = uri ? value.slice(uri[0].length) : value;
  if (uri && !/;base64$/i.test(uri[1]!)) return percentDecoded(name, encoded);
  const bytes = fromBase64(encoded);
  if (!bytes) throw new OptionError(name, `${name} holds a string that is neither base64 nor a data URI.`);
  return bytes;
}

/**
 * Decodes base64 of either alphabet, in one line or several. To keep large images fast, only native code reads the
 * text: the decoder skips invalid characters, which shows as fewer bytes than the text's length implies.
 * @returns null when the text is blank or not base64.
 */
function fromBase64(text: string): Uint8Array | null {
  const padding = /=*$/.exec(text.slice(-16).replace(/\s/g, ""))![0].length;
  const length = text.length - padding - [" ", "\t", "\r", "\n"].reduce((sum, c) => sum + count(c, text), 0);
  if (length === 0 || length % 4 === 1 || padding > 2) return null;
  const bytes = Buffer.from(text, "base64");
  return bytes.byteLength === Math.floor((length * 3) / 4) ? bytes : null;
}

function count(character: string, text: string): number {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) found++;
  return found;
}

function percentDecoded(name: string, text: string): Uint8Array {
  try {
    return Buffer.from(decodeURIComponent(text), "utf8");
  } catch {
    throw new OptionError(name, `${name} holds a damaged data URI.`);
  }
}
