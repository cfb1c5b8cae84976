/* Finds the EXIF block in image files. */

/** The TIFF structure of a file's EXIF block; null if it has none or is not a PNG, JPEG or WebP. */
export function exifOf(file: Uint8Array): Uint8Array | null {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 12) return null;
  if (view.getUint32(0) === 0x89504e47) return pngExif(file, view);
  if (view.getUint16(0) === 0xffd8) return jpegExif(file, view);
  if (textAt(file, 0) === "RIFF" && textAt(file, 8) === "WEBP") return webpExif(file, view);
  return null;
}

const textAt = (file: Uint8Array, at: number): string => String.fromCharCode(...file.subarray(at, at + 4));

/** Chunks: length, type, data, checksum. */
function pngExif(file: Uint8Array, view: DataView): Uint8Array | null {
  for (let at = 8; at + 12 <= file.length; at += 12 + view.getUint32(at))
    if (textAt(file, at + 4) === "eXIf") return file.subarray(at + 8, at + 8 + view.getUint32(at));
  return null;
}

/** Segments: a marker, a length that includes itself, data. The block begins with "Exif" and two zeros. */
function jpegExif(file: Uint8Array, view: DataView): Uint8Array | null {
  for (let at = 2; at + 4 <= file.length && view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    // The compressed image follows.
    if (marker === 0xda) return null;
    if (marker === 0xe1 && textAt(file, at + 4) === "Exif")
      return file.subarray(at + 10, at + 2 + view.getUint16(at + 2));
  }
  return null;
}

/** Chunks: type, length, data, padded to an even length. Some writers put JPEG's prefix before the block. */
function webpExif(file: Uint8Array, view: DataView): Uint8Array | null {
  for (let at = 12; at + 8 <= file.length; ) {
    const length = view.getUint32(at + 4, true);
    if (textAt(file, at) === "EXIF") {
      const start = at + 8 + (textAt(file, at + 8) === "Exif" ? 6 : 0);
      return file.subarray(start, at + 8 + length);
    }
    at += 8 + length + (length & 1);
  }
  return null;
}
