/** Python's file-name patterns: `*` matches any text including slashes, `?` one character, `[…]` a set. */
export interface Patterns {
  /** If there are any, only files that match one are wanted. */
  readonly allow?: readonly string[] | undefined;
  /** Files that match one are excluded. */
  readonly ignore?: readonly string[] | undefined;
}

/** Whether a file passes the patterns (huggingface_hub: filter_repo_objects). */
export function isWanted(name: string, { allow = [], ignore = [] }: Patterns): boolean {
  const matches = (pattern: string): boolean => globPattern(pattern).test(name);
  return (allow.length === 0 || allow.some(matches)) && !ignore.some(matches);
}

function globPattern(pattern: string): RegExp {
  const whole = pattern.endsWith("/") ? `${pattern}*` : pattern;
  const source = whole.replaceAll(
    /\[(!?)([^\]]+)\]|[\s\S]/g,
    (text, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return setPattern(set, Boolean(not));
      if (text === "*") return "[\\s\\S]*";
      if (text === "?") return "[\\s\\S]";
      return text.replace(/[\\^$.*+?()[\]{}|]/, "\\$&");
    },
  );
  return new RegExp(`^${source}$`);
}

/** A set of characters; a range that runs backwards, such as z-a, matches none (Python: fnmatch.translate). */
function setPattern(set: string, not: boolean): string {
  const forwards = set.replaceAll(/([\s\S])-([\s\S])/g, (range, from: string, to: string) =>
    from <= to ? range : "",
  );
  if (forwards === "") return not ? "[\\s\\S]" : "(?!)";
  return `[${not ? "^" : ""}${forwards.replaceAll(/[\\^[]/g, "\\$&")}]`;
}
