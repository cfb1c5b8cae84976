import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { MlxError } from "./errors.js";

/** A file is not a valid safetensors file. The message names the file and the problem. */
export class SafetensorsError extends MlxError {
  override readonly name: string = "SafetensorsError";

  constructor(
    /** Path of the file. */
    readonly path: string,
    /** The message without the path. */
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super("safetensors", `${path}: ${reason}`, options);
  }
}

export interface SafetensorsEntry {
  /** The dtype under its name in the file: "F32", "BF16", … */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Offset of the first byte, from the start of the file. */
  readonly start: number;
  /** Offset of the byte after the last one. */
  readonly end: number;
}

export interface SafetensorsHeader {
  /** Tensors by name, in the order of their bytes. */
  readonly tensors: Map<string, SafetensorsEntry>;
  readonly metadata: Map<string, string>;
  /** Offset of the first tensor's bytes. */
  readonly dataOffset: number;
}

/**
 * Bytes per element of the dtypes that MLX reads. MLX returns F8_E4M3 as uint8 (see `fromFp8`); it cannot read F64,
 * F8_E5M2, and the 4- and 6-bit floats.
 */
const bytesOf: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  C64: 8,
};

/** The limit of the format's reference implementation. */
const maxHeaderBytes = 100_000_000;
/** MLX stores the size of an axis in 32 bits. */
const maxDimension = 2 ** 31 - 1;
/** More axes than any known tensor has; MLX's kernels allocate by rank. */
const maxRank = 8;
/** {name: {shape: [...]}} */
const maxDepth = 3;

/**
 * Reads and checks the header of a safetensors file (https://github.com/huggingface/safetensors, "Format").
 * Checks everything that MLX trusts: lengths, dtypes, dimensions and their products, unique names, and tensors that
 * fill the file exactly, without overlaps or gaps.
 * @throws {SafetensorsError} if the file cannot be read or is invalid.
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  const fail = (reason: string, cause?: unknown): never => {
    throw new SafetensorsError(path, reason, cause === undefined ? undefined : { cause });
  };
  const { text, dataOffset, fileBytes } = readHeaderText(path, fail);
  let header: unknown;
  try {
    const problem = findHiddenProblem(text);
    if (problem !== null) fail(problem);
    header = JSON.parse(text);
  } catch (error) {
    if (error instanceof SafetensorsError) throw error;
    fail("the header is not JSON", error);
  }
  if (!isRecord(header)) return fail("the header is not a JSON object");
  const metadata = new Map<string, string>();
  const tensors: [string, SafetensorsEntry][] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (/\p{Surrogate}/u.test(name)) fail("the name of a tensor is not Unicode text");
    if (name !== "__metadata__") {
      tensors.push([name, readEntry(name, entry, dataOffset, fail)]);
      continue;
    }
    // MLX writes null for absent metadata.
    if (entry === null) continue;
    if (!isRecord(entry)) return fail("__metadata__ is not an object");
    for (const [key, value] of Object.entries(entry)) {
      if (typeof value !== "string") return fail(`metadata "${key}" is not a string`);
      metadata.set(key, value);
    }
  }
  tensors.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let filled = dataOffset;
  for (const [name, { start, end }] of tensors) {
    if (end > fileBytes)
      fail(
        `tensor "${name}" ends at byte ${end}, but the file has ${fileBytes} bytes; it is truncated or damaged`,
      );
    if (start < filled) fail(`tensor "${name}" overlaps another`);
    if (start > filled) fail(`${start - filled} bytes before tensor "${name}" belong to no tensor`);
    filled = end;
  }
  if (filled < fileBytes) fail(`the last ${fileBytes - filled} bytes belong to no tensor`);
  return { tensors: new Map(tensors), metadata, dataOffset };
}

type Fail = (reason: string, cause?: unknown) => never;

function readHeaderText(path: string, fail: Fail): { text: string; dataOffset: number; fileBytes: number } {
  let file: number | undefined;
  try {
    // Check before opening, because opening a pipe would block forever.
    if (!statSync(path).isFile()) return fail("not a file");
    file = openSync(path, "r");
    const fileBytes = fstatSync(file).size;
    const prefix = Buffer.alloc(8);
    if (readFully(file, prefix, 0) < 8) return fail(`${fileBytes} bytes are too few for a safetensors file`);
    const length = prefix.readBigUInt64LE();
    if (length < 2n) return fail(`the header cannot be ${length} bytes long; this is not a safetensors file`);
    if (length > BigInt(fileBytes - 8))
      return fail(
        `the header should have ${length} bytes, the file has ${fileBytes}; it is truncated or not a safetensors file`,
      );
    if (length > maxHeaderBytes)
      return fail(`the header has ${length} bytes, more than the ${maxHeaderBytes} that the format allows`);
    const bytes = Buffer.alloc(Number(length));
    if (readFully(file, bytes, 8) < bytes.length) return fail("the file shrank while it was being read");
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (error) {
      return fail("the header is not UTF-8", error);
    }
    return { text, dataOffset: 8 + bytes.length, fileBytes };
  } catch (error) {
    if (error instanceof SafetensorsError) throw error;
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return fail(missing ? "no such file" : `cannot be read (${(error as Error).message})`, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Fills `target` from `position`. Returns the number of bytes read, which is smaller only at the end of the file. */
function readFully(file: number, target: Buffer, position: number): number {
  let done = 0;
  while (done < target.length) {
    const count = readSync(file, target, done, target.length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

function readEntry(name: string, entry: unknown, dataOffset: number, fail: Fail): SafetensorsEntry {
  if (!isRecord(entry)) return fail(`tensor "${name}" is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  const width = typeof dtype === "string" && Object.hasOwn(bytesOf, dtype) ? bytesOf[dtype] : undefined;
  if (typeof dtype !== "string" || width === undefined)
    return fail(`tensor "${name}" has the dtype ${show(dtype)}, which MLX cannot read`);
  if (!isCounts(shape) || shape.some((n) => n > maxDimension))
    return fail(
      `tensor "${name}" has the shape ${show(shape)}; sizes are whole numbers from 0 to ${maxDimension}`,
    );
  if (shape.length > maxRank)
    return fail(`tensor "${name}" has ${shape.length} axes; at most ${maxRank} are supported`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    return fail(`tensor "${name}" has the data_offsets ${show(offsets)}; expected [start, end]`);
  // An axis of size 0 must not hide an overflow of the others.
  const elements = shape.reduce((product, n) => product * Math.max(n, 1), 1);
  if (elements * width > Number.MAX_SAFE_INTEGER)
    return fail(`tensor "${name}" of shape ${show(shape)} is too large`);
  const expected = shape.includes(0) ? 0 : elements * width;
  const [start, end] = offsets as [number, number];
  if (end - start !== expected)
    return fail(
      `tensor "${name}" (${dtype} ${show(shape)}) takes ${expected} bytes, the header gives it ${end - start}`,
    );
  return { dtype, shape, start: dataOffset + start, end: dataOffset + end };
}

/**
 * Finds problems that `JSON.parse` ignores, and returns a message: a key that occurs twice in an object, or text nested
 * deeper than a header. Exact for valid JSON; the parser rejects other text.
 */
function findHiddenProblem(text: string): string | null {
  const colon = /[ \t\n\r]*:/y;
  // One entry per level: the keys of an object, or null for a list.
  const levels: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case "{":
      case "[":
        levels.push(text[i] === "{" ? new Set() : null);
        if (levels.length > maxDepth) return "the header is nested too deeply";
        break;
      case "}":
      case "]":
        levels.pop();
        break;
      case '"': {
        const start = i;
        for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === "\\") i++;
        const keys = levels.at(-1);
        colon.lastIndex = i + 1;
        if (!keys || !colon.test(text)) break;
        const key = JSON.parse(text.slice(start, i + 1)) as string;
        if (keys.has(key)) return `the header has the name "${key}" twice`;
        keys.add(key);
      }
    }
  }
  return null;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** Formats a value of the header for a message, shortened. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "(none)";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
