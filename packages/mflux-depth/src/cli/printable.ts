/** Characters that control a terminal or the direction of text, except line breaks and tabs. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find.
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Shows control characters of untrusted text as escapes: "\u001b" instead of ESC. */
export const printable = (text: string): string => text.replaceAll(controls, escaped);

/** Like {@link printable}, on one line. */
export const printableLine = (text: string): string =>
  printable(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");

/** JSON on one line, with all control characters escaped; JSON itself allows some. */
export const printableJson = (value: unknown): string => printable(JSON.stringify(value));
