/* Makes the backup of `serve --backup`. */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { OutputError } from "mflux-depth/errors";
import { backUp } from "../upkeep/backup.js";
import { inFolder } from "./data-folder-errors.js";

/**
 * Copies a data folder into an archive.
 * @throws {OutputError} for an archive or a data folder that cannot be used.
 */
export async function writeBackup(
  archive: string,
  { folder, overwrite }: { readonly folder: string; readonly overwrite: boolean },
): Promise<void> {
  const target = resolve(archive);
  const parent = dirname(target);
  if (!existsSync(parent))
    throw new OutputError(archive, `the folder ${parent} does not exist; create it first.`);
  const existing = await stat(target).catch(() => null);
  if (existing?.isDirectory()) throw new OutputError(archive, "is a folder; choose a file name.");
  if (existing && !overwrite)
    throw new OutputError(archive, "exists already; choose another name, or replace it with --overwrite.");
  await backUp(folder, target).catch(inFolder(folder));
}
