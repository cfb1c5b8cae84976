/*
 * Atomic writing: a file is made under a temporary name in the folder of its target and then renamed, so that other
 * processes see the old file or the new one, never a partial file.
 */
import { rename } from "node:fs/promises";
import { withTemporary } from "./temporary.js";

/**
 * Replaces a file or link atomically.
 * @param make creates the new one under the name it is given.
 * @throws the error of `make` or of the file system; the old file is then unchanged.
 */
export const replaceFile = (path: string, make: (temporary: string) => Promise<void>): Promise<void> =>
  withTemporary(path, async (temporary) => {
    await make(temporary);
    await rename(temporary, path);
  });

/** Whether linking failed because the file system does not support links. */
export const lacksLinks = (error: unknown): boolean =>
  ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes((error as NodeJS.ErrnoException).code ?? "");
