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
 * @param part the part of a form that it is; the whole body by default.
 * @throws {HttpError} 400 if it is malformed, too deep, or has too many values.
 */
export function parseJson(body: Buffer, part: string | null = null): unknown {
  const refuse = (code: string, problem: string, facts: ErrorOptions = {}): HttpError =>
    new HttpError(400, code, `The ${part === null ? "body" : `part ${part}`} ${problem}.`, {
      param: part,
      ...facts,
    });
  measure(body, refuse);
  // Decoding would silently replace invalid UTF-8.
  if (!isUtf8(body)) throw refuse("malformed_json", "is not UTF-8");
  try {
    return JSON.parse(body.toString("utf8"), refusePrototypes);
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw refuse("malformed_json", "is not JSON", { cause: error });
  }
}

function measure(body: Buffer, refuse: (code: string, problem: string) => HttpError): void {
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
    if (depth > maxDepth) throw refuse("too_deep", `is nested more than ${maxDepth} levels deep`);
    if (values > maxValues) throw refuse("too_many_values", `has more than ${maxValues} values`);
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
