/*
 * The header of a GGUF file (github.com/ggml-org/ggml, docs/gguf.md), checked before anything else sees the file.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { ModelError } from "../../errors.js";
import { type GgufType, ggufTypes, unreadTypes } from "./types.js";

/** A tensor of a GGUF file. */
export interface GgufTensor {
  readonly type: GgufType;
  /** In this library's order, rows first; files put the length of a row first. */
  readonly shape: readonly number[];
  /** Offset of the first byte, from the start of the file. */
  readonly start: number;
  /** Bytes. */
  readonly bytes: number;
}

export interface GgufHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** The file's fields with numbers, texts and short lists. Longer lists, such as vocabularies, are omitted. */
  readonly fields: ReadonlyMap<string, string | number | boolean | readonly number[]>;
}

const magic = 0x46554747; // "GGUF", little-endian
const versions = [2, 3];
/** More than any known file has. */
const mostTensors = 100_000;
const mostFields = 100_000;
/** The maximum length of names of tensors and fields, and of texts that are kept. */
const longestName = 1024;
const longestText = 100_000;
/** The maximum length of lists of numbers that are kept. */
const longestList = 64;
const mostAxes = 8;
const largestAxis = 2 ** 31 - 1;
const chunkBytes = 1 << 20;
/** Vocabularies are a few megabytes. */
const largestHeader = 200_000_000;

/**
 * Reads and checks the header of a GGUF file: lengths, types, dimensions and their products, unique names, and tensors
 * that lie in order, aligned, without gaps, inside the file.
 * @throws {ModelError} naming the file and the problem.
 */
export function readGgufHeader(path: string): GgufHeader {
  if (!statSync(path).isFile()) throw new ModelError(path, "this is not a file");
  const file = openSync(path, "r");
  try {
    return parse(new Cursor(path, file, fstatSync(file).size));
  } finally {
    closeSync(file);
  }
}

function parse(cursor: Cursor): GgufHeader {
  const { fail } = cursor;
  if (cursor.u32() !== magic) fail("this is not a GGUF file");
  const version = cursor.u32();
  if (!versions.includes(version))
    fail(`it is GGUF of version ${version}; versions ${versions.join(" and ")} are read`);
  const tensorCount = cursor.count(mostTensors, "tensors");
  const fieldCount = cursor.count(mostFields, "fields");
  const fields = new Map<string, string | number | boolean | readonly number[]>();
  for (let i = 0; i < fieldCount; i++) {
    const name = cursor.text(longestName, "the name of a field");
    if (fields.has(name)) fail(`the field "${name}" occurs twice`);
    const value = readValue(cursor, cursor.u32(), name, 0);
    fields.set(name, value ?? "");
  }
  const alignment = fields.get("general.alignment") ?? 32;
  if (
    typeof alignment !== "number" ||
    !Number.isInteger(alignment) ||
    alignment < 8 ||
    alignment > 4096 ||
    (alignment & (alignment - 1)) !== 0
  )
    return fail(`general.alignment is ${JSON.stringify(alignment)}; expected a power of two from 8 to 4096`);
  const described = Array.from({ length: tensorCount }, () => readTensor(cursor, fields));
  return { fields, tensors: placed(cursor, described, alignment) };
}

type Described = readonly [name: string, tensor: Omit<GgufTensor, "start"> & { readonly offset: number }];

function readTensor(cursor: Cursor, fields: GgufHeader["fields"]): Described {
  const { fail } = cursor;
  const name = cursor.text(longestName, "the name of a tensor");
  const axes = cursor.u32();
  if (axes > mostAxes) fail(`tensor "${name}" has ${axes} axes; at most ${mostAxes} are supported`);
  const stored = Array.from({ length: axes }, () => cursor.u64());
  if (stored.some((n) => n < 1 || n > largestAxis))
    fail(
      `tensor "${name}" has the shape [${stored.join(", ")}]; sizes are whole numbers from 1 to ${largestAxis}`,
    );
  const typeNumber = cursor.u32();
  const type = ggufTypes.get(typeNumber);
  const offset = cursor.u64();
  if (!type) {
    const known = unreadTypes.get(typeNumber);
    return fail(
      known === undefined
        ? `tensor "${name}" has the type ${typeNumber}, which does not exist`
        : `tensor "${name}" has the type ${known}, which is not read; get a file of ${[...ggufTypes.values()].map((one) => one.name).join(", ")}`,
    );
  }
  const values = stored.reduce((product, n) => product * n, 1);
  if (!Number.isSafeInteger(values * type.bytes)) fail(`tensor "${name}" is too large`);
  const row = stored[0] ?? 1;
  if (row % type.values !== 0)
    fail(
      `tensor "${name}" has rows of ${row} values, which ${type.name} cannot divide into blocks of ${type.values}`,
    );
  const shape = originalShape(cursor, name, fields) ?? stored.toReversed();
  if (shape.reduce((product, n) => product * n, 1) !== values)
    fail(`tensor "${name}" has ${values} values, but its original shape is [${shape.join(", ")}]`);
  return [name, { type, shape, offset, bytes: (values / type.values) * type.bytes }];
}

/** The original shape recorded by ComfyUI's converter for tensors that it had to reshape. */
function originalShape(cursor: Cursor, name: string, fields: GgufHeader["fields"]): readonly number[] | null {
  const shape = fields.get(`comfy.gguf.orig_shape.${name}`);
  if (shape === undefined) return null;
  if (!Array.isArray(shape) || shape.length > mostAxes || !shape.every((n) => Number.isInteger(n) && n > 0))
    return cursor.fail(`the original shape of tensor "${name}" is ${JSON.stringify(shape)}`);
  return shape;
}

/** Checks that the tensors fill the rest of the file in order. */
function placed(cursor: Cursor, described: readonly Described[], alignment: number): Map<string, GgufTensor> {
  const { fail, size } = cursor;
  const aligned = (position: number): number => Math.ceil(position / alignment) * alignment;
  const dataStart = aligned(cursor.position);
  const tensors = new Map<string, GgufTensor>();
  let expected = 0;
  for (const [name, { offset, ...tensor }] of described) {
    if (tensors.has(name)) fail(`tensor "${name}" occurs twice`);
    if (offset !== expected)
      fail(
        `tensor "${name}" begins at byte ${offset} of the data, expected ${expected}; the file is damaged`,
      );
    const start = dataStart + offset;
    if (start + tensor.bytes > size)
      fail(
        `tensor "${name}" ends at byte ${start + tensor.bytes}, but the file has ${size} bytes; it is truncated or damaged`,
      );
    tensors.set(name, { ...tensor, start });
    expected = aligned(offset + tensor.bytes);
  }
  const end = dataStart + expected;
  if (size > end) fail(`the last ${size - end} bytes belong to no tensor`);
  return tensors;
}

/** The types of fields, by their numbers. */
const scalars: Readonly<Record<number, (cursor: Cursor) => number | boolean>> = {
  0: (cursor) => cursor.take(1).readUInt8(),
  1: (cursor) => cursor.take(1).readInt8(),
  2: (cursor) => cursor.take(2).readUInt16LE(),
  3: (cursor) => cursor.take(2).readInt16LE(),
  4: (cursor) => cursor.u32(),
  5: (cursor) => cursor.take(4).readInt32LE(),
  6: (cursor) => cursor.take(4).readFloatLE(),
  7: (cursor) => cursor.bool(),
  10: (cursor) => Number(cursor.take(8).readBigUInt64LE()),
  11: (cursor) => Number(cursor.take(8).readBigInt64LE()),
  12: (cursor) => cursor.take(8).readDoubleLE(),
};
const textType = 8;
const listType = 9;

/** Reads the value of a field; null for a list that is not needed. */
function readValue(
  cursor: Cursor,
  type: number,
  name: string,
  depth: number,
): string | number | boolean | readonly number[] | null {
  const scalar = scalars[type];
  if (scalar) return scalar(cursor);
  if (type === textType) return cursor.text(longestText, `the field "${name}"`);
  if (type !== listType) return cursor.fail(`the field "${name}" has the type ${type}, which does not exist`);
  if (depth > 1) return cursor.fail(`the field "${name}" is nested too deeply`);
  const itemType = cursor.u32();
  // Each item takes at least one byte.
  const length = cursor.count(cursor.size, `items of the field "${name}"`);
  const kept: number[] = [];
  for (let i = 0; i < length; i++) {
    const item = readValue(cursor, itemType, name, depth + 1);
    if (typeof item === "number" && i < longestList) kept.push(item);
  }
  return kept.length === length ? kept : null;
}

/** Reads a file forwards, in chunks. */
class Cursor {
  position = 0;
  readonly size: number;
  readonly #path: string;
  readonly #file: number;
  #chunk = Buffer.alloc(0);
  #chunkStart = 0;

  constructor(path: string, file: number, size: number) {
    this.#path = path;
    this.#file = file;
    this.size = size;
  }

  readonly fail = (reason: string): never => {
    throw new ModelError(this.#path, reason);
  };

  /** The next bytes. */
  take(bytes: number): Buffer {
    const end = this.position + bytes;
    if (end > this.size) this.fail("the header ends with the file; it is truncated or damaged");
    if (end > largestHeader) this.fail(`the header has more than ${largestHeader} bytes`);
    if (end > this.#chunkStart + this.#chunk.length) this.#read(bytes);
    const from = this.position - this.#chunkStart;
    this.position = end;
    return this.#chunk.subarray(from, from + bytes);
  }

  u32(): number {
    return this.take(4).readUInt32LE();
  }

  u64(): number {
    const value = this.take(8).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      this.fail("a number in the header is too large; it is damaged");
    return Number(value);
  }

  bool(): boolean {
    const value = this.take(1).readUInt8();
    if (value > 1) this.fail("a truth value in the header is neither 0 nor 1; it is damaged");
    return value === 1;
  }

  /** Reads the number of items that follow. */
  count(most: number, what: string): number {
    const value = this.u64();
    if (value > most) this.fail(`the header announces ${value} ${what}; it is damaged`);
    return value;
  }

  /** Reads a length and that many bytes of UTF-8. */
  text(longest: number, what: string): string {
    const length = this.u64();
    if (length > longest)
      return this.fail(`${what} has ${length} bytes, more than ${longest}; it is damaged`);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(this.take(length));
    } catch (error) {
      if (error instanceof ModelError) throw error;
      return this.fail(`${what} is not UTF-8`);
    }
  }

  #read(least: number): void {
    const wanted = Math.min(Math.max(least, chunkBytes), this.size - this.position);
    const chunk = Buffer.alloc(wanted);
    let done = 0;
    while (done < wanted) {
      const count = readSync(this.#file, chunk, done, wanted - done, this.position + done);
      if (count === 0) this.fail("the file shrank while it was being read");
      done += count;
    }
    this.#chunk = chunk;
    this.#chunkStart = this.position;
  }
}
