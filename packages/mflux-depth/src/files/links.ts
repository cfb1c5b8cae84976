import { readlink, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** As many links as Linux follows. */
const mostLinks = 40;

/**
 * Follows a link to the path that it leads to, which need not exist; other paths are returned unchanged.
 * @throws the error of the file system, or ELOOP for links in a circle.
 */
export async function followLinks(path: string): Promise<string> {
  let reached = path;
  for (let followed = 0; followed < mostLinks; followed++) {
    const target = await readlink(reached).catch((error: NodeJS.ErrnoException) => {
      // EINVAL: it is not a link. UNKNOWN: Windows says so of a file.
      if (["EINVAL", "ENOENT", "UNKNOWN"].includes(error.code ?? "")) return null;
      throw error;
    });
    if (target === null) return reached;
    // Its folder may itself be reached by a link, and ".." then leads elsewhere.
    reached = resolve(await realpath(dirname(reached)), target);
  }
  throw Object.assign(new Error(`too many links: ${path}`), { code: "ELOOP", syscall: "readlink" });
}
