/*
 * Reads JSON bodies. `JSON.parse` can make hundreds of bytes from a few characters, so a body is measured before it is
 * parsed: real requests have long texts (pictures in base64) and few values.
 */
import { isUtf8 } from "node:buffer";
import { HttpError } from "./error.js";

const maxDepth = 32;
const maxValues = 10_000;

const [quote, backslash] = [0x22, 0x5c];
const opening = new Set(Buffer.from("[{"));
const closing = new Set(Buffer.from("]}"));
const [comma, colon] = [0x2c, 0x3a];

/**
 * Parses a JSON text.
 * @throws {HttpError} 400 if it is malformed, too deep, or has too many values.
 */
export function parseJson(body: Buffer): unknown {
  measure(body);
  // Decoding would silently replace invalid UTF-8.
  if (!isUtf8(body)) throw new HttpError(400, "malformed_json", "The body is not UTF-8.");
  try {
    return JSON.parse(body.toString("utf8"), refusePrototypes);
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, "malformed_json", "The body is not JSON.", { cause: error });
  }
}

function measure(body: Buffer): void {
  let depth = 0;
  let values = 0;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]!;
    if (byte === quote) {
      i = endOfText(body, i);
      continue;
    }
    if (opening.has(byte)) depth++;
    else if (closing.has(byte)) depth--;
    else if (byte !== comma && byte !== colon) continue;
    values++;
    if (depth > maxDepth)
      throw new HttpError(400, "too_deep", `The body is nested more than ${maxDepth} levels deep.`);
    if (values > maxValues)
      throw new HttpError(400, "too_many_values", `The body has more than ${maxValues} values.`);
  }
}

/** The index of the quote that ends a text, or the body's last index. */
function endOfText(body: Buffer, start: number): number {
  let end = body.indexOf(quote, start + 1);
  while (end >= 0 && isEscaped(body, end)) end = body.indexOf(quote, end + 1);
  return end < 0 ? body.length - 1 : end;
}

function isEscaped(body: Buffer, index: number): boolean {
  let backslashes = 0;
  while (body[index - 1 - backslashes] === backslash) backslashes++;
  return backslashes % 2 === 1;
}

/** A field of this name would change the prototype of copies. */
function refusePrototypes(key: string, value: unknown): unknown {
  if (key === "__proto__")
    throw new HttpError(400, "unknown_field", "There is no field __proto__.", { param: "__proto__" });
  return value;
}
