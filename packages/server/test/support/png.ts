import { createHash } from "node:crypto";
import { crc32, inflateSync } from "node:zlib";

/** A hash of a PNG's pixels. The file also says how long the image took, which differs from run to run. */
export function hashOfPixels(png: Uint8Array): string {
  const file = Buffer.from(png);
  const parts: Buffer[] = [];
  for (let start = 8; start < file.length; ) {
    const length = file.readUInt32BE(start);
    const type = file.toString("latin1", start + 4, start + 8);
    if (type === "IDAT") parts.push(file.subarray(start + 8, start + 8 + length));
    start += length + 12;
  }
  return createHash("sha256")
    .update(inflateSync(Buffer.concat(parts)))
    .digest("hex");
}

/** A PNG whose header claims another size, which its pixels do not have: decoding it fails. */
export function withClaimedSize(png: Uint8Array, width: number, height: number): Buffer {
  const file = Buffer.from(png);
  file.writeUInt32BE(width, 16);
  file.writeUInt32BE(height, 20);
  file.writeUInt32BE(crc32(file.subarray(12, 29)), 29);
  return file;
}
