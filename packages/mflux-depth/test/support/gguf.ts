import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** A GGUF file with the given fields and tensors. */
export class GgufWriter {
  readonly #folder: string;
  readonly #parts: Buffer[] = [];

  /** @param folder of the file. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.#parts.push(part);
    return this;
  }

  u64(value: number | bigint): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.#parts.push(part);
    return this;
  }

  text(value: string | Buffer): this {
    const bytes = Buffer.from(value);
    this.u64(bytes.length);
    this.#parts.push(bytes);
    return this;
  }

  tensor(name: string, shape: readonly (number | bigint)[], type: number, offset: number | bigint): this {
    this.text(name).u32(shape.length);
    for (const n of shape) this.u64(n);
    return this.u32(type).u64(offset);
  }

  /** Pads the header and adds bytes of data. */
  data(bytes: number, alignment = 32): this {
    const length = Buffer.concat(this.#parts).length;
    this.#parts.push(Buffer.alloc((-length & (alignment - 1)) + bytes));
    return this;
  }

  write(): string {
    const path = join(this.#folder, "made.gguf");
    writeFileSync(path, Buffer.concat(this.#parts));
    return path;
  }
}

/** Begins the header of a GGUF file. */
export const ggufHeader = (
  folder: string,
  tensors: number | bigint,
  fields: number | bigint = 0,
  version = 3,
): GgufWriter => new GgufWriter(folder).u32(0x46554747).u32(version).u64(tensors).u64(fields);
