export type ExifTags = Record<number, number | readonly [numerator: number, denominator: number]>;

/** Makes an EXIF block whose photo directory has numbers (SHORT) and fractions (RATIONAL). */
export function exifBlock(tags: ExifTags): Uint8Array {
  const entries = Object.entries(tags).sort(([a], [b]) => Number(a) - Number(b));
  // A header of 8 bytes, a directory of one entry (18 bytes), the photo directory at 26, then the fractions.
  const fractions = 26 + 2 + 12 * entries.length + 4;
  const bytes = Buffer.alloc(fractions + 8 * entries.length);
  bytes.write("II*\0", "latin1");
  bytes.writeUInt32LE(8, 4);
  bytes.writeUInt16LE(1, 8);
  bytes.writeUInt16LE(0x8769, 10);
  bytes.writeUInt16LE(4, 12);
  bytes.writeUInt32LE(1, 14);
  bytes.writeUInt32LE(26, 18);
  bytes.writeUInt16LE(entries.length, 26);
  for (const [i, [tag, value]] of entries.entries()) {
    const entry = 28 + 12 * i;
    bytes.writeUInt16LE(Number(tag), entry);
    bytes.writeUInt16LE(typeof value === "number" ? 3 : 5, entry + 2);
    bytes.writeUInt32LE(1, entry + 4);
    if (typeof value === "number") bytes.writeUInt16LE(value, entry + 8);
    else {
      bytes.writeUInt32LE(fractions + 8 * i, entry + 8);
      bytes.writeUInt32LE(value[0], fractions + 8 * i);
      bytes.writeUInt32LE(value[1], fractions + 8 * i + 4);
    }
  }
  return bytes;
}

/** Tags of the photo directory. */
export const exifTag = {
  lens: 0x920a,
  onFilm: 0xa405,
  density: 0xa20e,
  unit: 0xa210,
  width: 0xa002,
  height: 0xa003,
} as const;
