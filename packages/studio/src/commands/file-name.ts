import type { JobObject } from "@mflux-depth/server/contract";

const extensions: Readonly<Record<string, string>> = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
};

/** Words without spaces can be long; file names are limited to 255 bytes, and a character takes up to four. */
const longest = 48;

/** A file name for a job's image: the first words of its prompt and the seed. */
export function fileNameOf({ request, seed, image }: Pick<JobObject, "request" | "seed" | "image">): string {
  const words = String(request.prompt ?? "")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim()
    .split(" ")
    .slice(0, 6)
    .join("-");
  const short = [...words].slice(0, longest).join("");
  const extension = extensions[image?.mime ?? ""] ?? "png";
  return `${[short || "image", seed].filter((part) => part !== null).join("-")}.${extension}`;
}
