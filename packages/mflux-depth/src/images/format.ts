import type { ByteSource } from "./byte-source.js";

/** The formats that are decoded, by the names that sharp gives them. */
export type EncodedFormat = "jpeg" | "png" | "webp" | "heif" | "tiff" | "gif";

const heifBrands = ["avif", "avis", "mif1", "msf1", "heic", "heix"];

/**
 * Tells the format by the first bytes. Everything else is refused by name before a decoder sees it: libvips also draws
 * SVG and, depending on how it was built, PDF and formats with scripts, at a cost that no header tells.
 * @returns "drawing" for vector formats and page descriptions, null for anything unknown.
 */
export async function formatOfBytes(source: ByteSource): Promise<EncodedFormat | "drawing" | null> {
  const head = await source.read(0, 1024);
  const text = head.toString("latin1");
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (text.startsWith("RIFF") && text.startsWith("WEBP", 8)) return "webp";
  if (text.startsWith("ftyp", 4) && heifBrands.includes(text.slice(8, 12))) return "heif";
  // "+" instead of "*" is BigTIFF.
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return "tiff";
  if (/^GIF8[79]a/.test(text)) return "gif";
  if (isDrawing(text)) return "drawing";
  return null;
}

/** SVG (as text or gzip), PDF, PostScript, EPS with a preview, Windows metafiles. */
const isDrawing = (text: string): boolean =>
  /<svg|^\s*(?:\xef\xbb\xbf)?<\?xml|%PDF-|^%!PS/i.test(text) ||
  ["\x1f\x8b", "\xc5\xd0\xd3\xc6", "\xd7\xcd\xc6\x9a", "\x01\0\0\0"].some((magic) => text.startsWith(magic));

/** Looks for a PNG's animation chunk, which libpng skips. It comes before the pixels. */
export async function isAnimatedPng(source: ByteSource): Promise<boolean> {
  for (let at = 8; at + 8 <= source.length; ) {
    const chunk = await source.read(at, 8);
    if (chunk.length < 8) return false;
    const type = chunk.toString("latin1", 4);
    if (type === "acTL") return true;
    if (type === "IDAT") return false;
    at += 12 + chunk.readUInt32BE(0);
  }
  return false;
}
