import type { ByteSource } from "./byte-source.js";

/** The supported formats, by sharp's names. */
export type EncodedFormat = "jpeg" | "png" | "webp" | "heif" | "tiff" | "gif";

/** Brands of HEIF files that contain AV1, any content, or HEVC. */
const brands = {
  avif: ["avif", "avis"],
  any: ["mif1", "msf1"],
  heic: ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"],
};

/**
 * Recognises the format by its first bytes. Everything else is refused before a decoder sees it: libvips also renders
 * SVG and, depending on its build, PDF and formats with scripts, at unpredictable cost.
 * @returns "drawing" for vector formats and page descriptions, "heic" for HEIF with HEVC inside, null for anything
 * unknown.
 */
export async function formatOfBytes(source: ByteSource): Promise<EncodedFormat | "heic" | "drawing" | null> {
  const head = await source.read(0, 1024);
  const text = head.toString("latin1");
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (text.startsWith("RIFF") && text.startsWith("WEBP", 8)) return "webp";
  if (text.startsWith("ftyp", 4)) return heifFormat(head);
  // "+" instead of "*" is BigTIFF.
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return "tiff";
  if (/^GIF8[79]a/.test(text)) return "gif";
  if (isDrawing(text)) return "drawing";
  return null;
}

/**
 * Determines the content of a HEIF file from its brands: the main one and, if that is ambiguous, the compatible ones.
 */
function heifFormat(head: Buffer): "heif" | "heic" | null {
  const end = Math.min(head.readUInt32BE(0), head.length);
  const compatible = Array.from({ length: Math.max(0, Math.floor((end - 16) / 4)) }, (_, i) =>
    head.toString("latin1", 16 + 4 * i, 20 + 4 * i),
  );
  const main = head.toString("latin1", 8, 12);
  const named = (names: readonly string[], brand: string): boolean => names.includes(brand);
  if (named(brands.avif, main)) return "heif";
  if (named(brands.heic, main)) return "heic";
  if (!named(brands.any, main)) return null;
  return compatible.some((brand) => named(brands.heic, brand)) &&
    !compatible.some((brand) => named(brands.avif, brand))
    ? "heic"
    : "heif";
}

/** SVG (as text or gzip), PDF, PostScript, EPS with a preview, Windows metafiles. */
const isDrawing = (text: string): boolean =>
  /<svg|^\s*(?:\xef\xbb\xbf)?<\?xml|%PDF-|^%!PS/i.test(text) ||
  ["\x1f\x8b", "\xc5\xd0\xd3\xc6", "\xd7\xcd\xc6\x9a", "\x01\0\0\0"].some((magic) => text.startsWith(magic));

/** Looks for a PNG's animation chunk, which libpng ignores. It precedes the pixels. */
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
