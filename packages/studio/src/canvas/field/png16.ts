import type { DepthField } from "./depth-field.js";
import { grey, type Levels } from "./levels.js";
import { type Statistics, toneCurve } from "./statistics.js";

/**
 * Encodes a field as a 16-bit grey PNG with the levels applied, so that a job uses it with neutral levels.
 * @throws {RangeError} when the percentiles of near and far are equal.
 */
export async function encodeDepth(field: DepthField, statistics: Statistics, levels: Levels): Promise<Blob> {
  const curve = toneCurve(statistics, levels);
  if (!curve)
    throw new RangeError(
      `The percentiles ${levels.far} and ${levels.near} of the depth are equal; choose them farther apart.`,
    );
  return await encodePng16(field.width, field.height, (index) => grey(field.values[index]!, curve));
}

/**
 * Encodes a 16-bit grey PNG. Browsers' own encoders write 8 bits.
 * @param valueAt the value of each pixel in 0 to 1, row by row
 */
export async function encodePng16(
  width: number,
  height: number,
  valueAt: (index: number) => number,
): Promise<Blob> {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 16); // Bits per sample; the colour type after it stays 0, grey.
  const rows = filteredRows(width, height, valueAt);
  const compressed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(compressed).arrayBuffer());
  return new Blob(
    [
      new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
      chunk("IHDR", new Uint8Array(header.buffer)),
      chunk("IDAT", data),
      chunk("IEND", new Uint8Array(0)),
    ],
    { type: "image/png" },
  );
}

/** PNG's filter "Up": each byte minus the one above, which compresses slowly changing depth well. */
const up = 2;

function filteredRows(
  width: number,
  height: number,
  valueAt: (index: number) => number,
): Uint8Array<ArrayBuffer> {
  const stride = 2 * width;
  const rows = new Uint8Array(height * (stride + 1));
  let above = new Uint8Array(stride);
  let row = new Uint8Array(stride);
  for (let y = 0, out = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = Math.round(valueAt(y * width + x) * 65535);
      row[2 * x] = value >> 8;
      row[2 * x + 1] = value & 255;
    }
    rows[out++] = up;
    for (let i = 0; i < stride; i++) rows[out++] = row[i]! - above[i]!;
    [above, row] = [row, above];
  }
  return rows;
}

/** Length, type, data, and the checksum of type and data. */
function chunk(type: string, data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
