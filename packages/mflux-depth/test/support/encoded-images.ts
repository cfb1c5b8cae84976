/*
 * Encoded images whose header says more than the file holds.
 */
import sharp from "sharp";

/** A JPEG whose header claims another size. */
export async function jpegClaiming(width: number, height: number): Promise<Buffer> {
  const jpeg = await sharp({ create: { width: 16, height: 16, channels: 3, background: "red" } })
    .jpeg()
    .toBuffer();
  const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]));
  jpeg.writeUInt16BE(height, frame + 5);
  jpeg.writeUInt16BE(width, frame + 7);
  return jpeg;
}

/** A JPEG that ends properly after a share of its pixels. */
export const endedEarly = (jpeg: Buffer, share: number): Buffer =>
  Buffer.concat([jpeg.subarray(0, Math.floor(jpeg.length * share)), Buffer.from([0xff, 0xd9])]);

/** Compressions of TIFF. */
export const tiffCompression = { none: 1, lzw: 5, jpeg: 7, deflate: 8 } as const;

/**
 * A TIFF of one strip, with its directory in front of the pixels, as cameras and Photoshop write it.
 * @param strip the compressed pixels, RGB with 8 bits
 */
export function tiffOf(strip: Buffer, width: number, height: number, compression: number): Buffer {
  const [short, long] = [3, 4];
  const isJpeg = compression === tiffCompression.jpeg;
  // After the header and a directory of ten entries.
  const bitsAt = 8 + 2 + 10 * 12 + 4;
  const entries: [tag: number, type: number, count: number, value: number][] = [
    [256, long, 1, width],
    [257, long, 1, height],
    [258, short, 3, bitsAt],
    [259, short, 1, compression],
    // RGB, or YCbCr as JPEG has it.
    [262, short, 1, isJpeg ? 6 : 2],
    [273, long, 1, bitsAt + 6],
    [277, short, 1, 3],
    [278, long, 1, height],
    [279, long, 1, strip.length],
    [284, short, 1, 1],
  ];
  const head = Buffer.alloc(bitsAt + 6);
  head.write("II*\0", 0, "latin1");
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(entries.length, 8);
  for (const [i, [tag, type, count, value]] of entries.entries()) {
    const at = 10 + 12 * i;
    head.writeUInt16LE(tag, at);
    head.writeUInt16LE(type, at + 2);
    head.writeUInt32LE(count, at + 4);
    head.writeUInt32LE(value, at + 8);
  }
  for (const i of [0, 1, 2]) head.writeUInt16LE(8, bitsAt + 2 * i);
  return Buffer.concat([head, strip]);
}
