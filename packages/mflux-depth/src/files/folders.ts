import { statSync } from "node:fs";

/** Whether `path` leads to a folder. */
export const isFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
