/*
 * EXIF's UserComment, from the TIFF structure of the block.
 */

const tags = { exifFolder: 0x8769, userComment: 0x9286 };

interface Entry {
  readonly count: number;
  /** The position of the value or of its offset. */
  readonly at: number;
}

/**
 * The text of UserComment; null if the block has none.
 * @throws {RangeError} when the block is cut off
 */
export function userCommentOf(block: Uint8Array): string | null {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const little = view.getUint16(0) === 0x4949;
  const folder = entryOf(view, little, view.getUint32(4, little), tags.exifFolder);
  if (!folder) return null;
  const comment = entryOf(view, little, view.getUint32(folder.at, little), tags.userComment);
  if (!comment) return null;
  const start = view.getUint32(comment.at, little);
  return decode(block.subarray(start, start + comment.count), little);
}

/** An entry of a folder: a count of entries, then twelve bytes for each. */
function entryOf(view: DataView, little: boolean, folder: number, tag: number): Entry | null {
  const count = view.getUint16(folder, little);
  for (let i = 0; i < count; i++) {
    const at = folder + 2 + 12 * i;
    if (view.getUint16(at, little) === tag) return { count: view.getUint32(at + 4, little), at: at + 8 };
  }
  return null;
}

/** Eight bytes name the charset, followed by the text. "ASCII" is UTF-8 in practice. */
function decode(comment: Uint8Array, little: boolean): string {
  const charset = String.fromCharCode(...comment.subarray(0, 8));
  const encoding = charset.startsWith("UNICODE") ? (little ? "utf-16le" : "utf-16be") : "utf-8";
  return new TextDecoder(encoding).decode(comment.subarray(8)).replace(/\0+$/, "");
}
