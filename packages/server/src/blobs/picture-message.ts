import type { ImageError } from "mflux-depth/errors";

/** A sentence about what is wrong with a picture that arrived without a file name. */
export function pictureMessage({ source, message }: ImageError): string {
  const reason = message.slice(source.length + 2);
  const separator = /^(is|has|needs) /.test(reason) ? " " : ": ";
  return `${source[0]!.toUpperCase()}${source.slice(1)}${separator}${reason}`;
}
