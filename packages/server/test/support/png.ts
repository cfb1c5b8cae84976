import { createHash } from "node:crypto";
import { inflateSync } from "node:zlib";

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
