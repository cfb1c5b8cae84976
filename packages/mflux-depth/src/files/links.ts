import { readlink, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** The number of links that Linux follows. */
const mostLinks = 40;

/**
 * Returns the path to which a link leads, which need not exist. Other paths are returned unchanged.
 * @throws the error of the file system, or ELOOP for links in a circle.
 */
export async function followLinks(path: string): Promise<string> {
  let reached = path;
  for (let followed = 0; followed < mostLinks; followed++) {
    const target = await readlink(reached).catch((error: NodeJS.ErrnoException) => {
      // EINVAL: not a link. Windows reports UNKNOWN for a file.
      if (["EINVAL", "ENOENT", "UNKNOWN"].includes(error.code ?? "")) return null;
      throw error;
    });
    if (target === null) return reached;
    // A link may also lead to its folder, and ".." is then relative to the real folder.
    reached = resolve(await realpath(dirname(reached)), target);
  }
  throw Object.assign(new Error(`too many links: ${path}`), { code: "ELOOP", syscall: "readlink" });
}
