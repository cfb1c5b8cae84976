import type { ImageError } from "mflux-depth/errors";

/**
 * A sentence about what is wrong with a picture that arrived without a file name.
 * @param subject what the picture is, if the error cannot know.
 */
export function pictureMessage({ source, message }: ImageError, subject = source): string {
  const reason = message.slice(source.length + 2);
  const separator = /^(is|has|needs) /.test(reason) ? " " : ": ";
  return `${subject[0]!.toUpperCase()}${subject.slice(1)}${separator}${reason}`;
}
