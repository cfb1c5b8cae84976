import type { ByteSource } from "./byte-source.js";
import type { EncodedFormat } from "./format.js";

/*
 * Finds files that are too short for the pixels that their header claims. libjpeg and libtiff decode such files to grey
 * or black, at full cost.
 */

/**
 * The maximum number of pixels per byte. JPEG: a block of 8 × 8 pixels takes one bit at least, for its mean. GIF: a
 * code of LZW stands for 4096 pixels at most, and has 12 bits then. The other formats have no bound, or their decoders
 * report missing data themselves.
 */
const mostPixelsPerByte: Readonly<Partial<Record<EncodedFormat, number>>> = { jpeg: 512, gif: 2731 };

/** Whether the file has too few bytes for its size, or its parts lie beyond its end. */
export async function lacksData(
  source: ByteSource,
  format: EncodedFormat,
  width: number,
  height: number,
): Promise<boolean> {
  if (width * height > source.length * (mostPixelsPerByte[format] ?? Number.POSITIVE_INFINITY)) return true;
  return format === "tiff" && (await tiffLacksData(source));
}

const tags = { width: 256, height: 257, compression: 259, bits: 258, samples: 277 };
/** Offsets and byte counts of the pieces: strips, tiles. */
const pieceTags = [
  [273, 279],
  [324, 325],
] as const;

/** The maximum number of pixel bytes per byte of file, by compression number; other compressions have no bound. */
const mostBytesPerByte: Readonly<Record<number, number>> = {
  // None, LZW, JPEG (two bits for a block of 64; up to four times as coarse in its colours), Deflate twice, PackBits.
  1: 1,
  5: 2731,
  7: 256 * 4,
  8: 1032,
  32946: 1032,
  32773: 64,
};

/** Checks a TIFF's first page: all pieces must be non-empty and inside the file, and large enough for the pixels. */
async function tiffLacksData(source: ByteSource): Promise<boolean> {
  const directory = await readDirectory(source);
  // libtiff reports problems with the directory.
  if (!directory) return false;
  const first = async (tag: number, fallback: number): Promise<number> =>
    (await directory(tag, 1))?.[0] ?? fallback;
  let held = 0;
  for (const [offsetTag, countTag] of pieceTags) {
    const offsets = await directory(offsetTag);
    const counts = await directory(countTag);
    if (!offsets || !counts) continue;
    for (let i = 0; i < offsets.length; i++) {
      const [offset, count] = [offsets[i]!, counts[i] ?? 0];
      if (count === 0 || offset + count > source.length) return true;
      held += count;
    }
  }
  const density = mostBytesPerByte[await first(tags.compression, 1)] ?? Number.POSITIVE_INFINITY;
  const bits = (await first(tags.bits, 1)) * (await first(tags.samples, 1));
  const pixels = (await first(tags.width, 0)) * (await first(tags.height, 0));
  return held > 0 && (pixels * bits) / 8 > held * density;
}

/** Reads the values of a tag of the first directory: at most `most` of them; null when the tag is missing. */
type Directory = (tag: number, most?: number) => Promise<number[] | null>;

/** Bytes of a value by its type: BYTE, SHORT, LONG, and BigTIFF's LONG8. */
const sizes: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 1: 1, 3: 2, 4: 4, 16: 8 };

const mostEntries = 4096;
const mostPieces = 4e6;

async function readDirectory(source: ByteSource): Promise<Directory | null> {
  const head = await source.read(0, 16);
  const little = head[0] === 0x49;
  const number = (bytes: Buffer, at: number, size: 1 | 2 | 4 | 8): number => {
    if (size === 8) return Number(little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
    return little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size);
  };
  if (head.length < 16) return null;
  const big = number(head, 2, 2) === 43;
  const [countSize, entrySize, wordSize] = big ? ([8, 20, 8] as const) : ([2, 12, 4] as const);
  const start = number(head, big ? 8 : 4, wordSize);
  const counted = await source.read(start, countSize);
  if (counted.length < countSize) return null;
  const entries = Math.min(number(counted, 0, countSize), mostEntries);
  const table = await source.read(start + countSize, entries * entrySize);

  return async (tag, most = mostPieces) => {
    for (let at = 0; at + entrySize <= table.length; at += entrySize) {
      if (number(table, at, 2) !== tag) continue;
      const size = sizes[number(table, at + 2, 2)];
      if (!size) return null;
      const all = number(table, at + 4, wordSize);
      const count = Math.min(all, most);
      const valueAt = at + 4 + wordSize;
      const values =
        all * size <= wordSize
          ? table.subarray(valueAt, valueAt + wordSize)
          : await source.read(number(table, valueAt, wordSize), count * size);
      const whole = Math.min(count, Math.floor(values.length / size));
      return Array.from({ length: whole }, (_, i) => number(values, i * size, size));
    }
    return null;
  };
}
