import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdtemp, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { OutputError } from "mflux-depth/errors";
import { type Pack, pack } from "tar-stream";
import { pathInStore } from "../blobs/file-store.js";
import { filesFolderIn, ledgerFileIn } from "../data-folder/data-folder.js";
import { reasonOf } from "../data-folder/reasons.js";
import { ServiceError } from "../errors.js";
import { Ledger } from "../ledger/ledger.js";

/** How long a hold on files lasts unless it is renewed; a killed backup delays deletions no longer than this. */
const leaseMs = 60_000;

/**
 * Copies a data folder into a tar archive, even while a server uses it: the ledger as it was at one moment, and every
 * file that it names. Extracted into an empty folder, the archive is a data folder again.
 * @param folder the data folder.
 * @param target the archive; it appears under this name once it is complete.
 * @throws {ServiceError} `unavailable` if the folder has no usable ledger.
 * @throws {OutputError} for a file that cannot be read or written.
 */
export async function backUp(folder: string, target: string): Promise<void> {
  if (!existsSync(ledgerFileIn(folder)))
    throw new ServiceError("unavailable", "There is no ledger to back up in this data folder.");
  const ledger = new Ledger(ledgerFileIn(folder), () => {});
  // Files named by the copy must stay until they are copied, so the server deletes none meanwhile.
  const hold = (): void => ledger.settings.holdFiles(Date.now() + leaseMs);
  hold();
  const renewal = setInterval(hold, leaseMs / 3);
  try {
    await writeAside(target, async (aside) => {
      const copy = join(aside, "ledger.db");
      await ledger.copyTo(copy);
      await writeArchive(join(aside, "archive"), copy, folder);
      await rename(join(aside, "archive"), target);
    });
  } finally {
    clearInterval(renewal);
    ledger.settings.holdFiles(0);
    ledger.close();
  }
}

/**
 * Works in a folder next to the target, and removes it afterwards.
 * @throws {OutputError} for a file that cannot be read or written.
 */
async function writeAside(target: string, work: (aside: string) => Promise<void>): Promise<void> {
  try {
    const aside = await mkdtemp(join(dirname(target), ".backup-"));
    try {
      await work(aside);
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new OutputError(target, `The backup could not be made: ${reasonOf(error) ?? message}.`, {
      cause: error,
    });
  }
}

async function writeArchive(archive: string, copy: string, folder: string): Promise<void> {
  const snapshot = new Ledger(copy, () => {});
  try {
    snapshot.settings.holdFiles(0);
    const needed = snapshot.files.needed();
    snapshot.close();
    const entries = pack();
    const written = pipeline(entries, createWriteStream(archive, { mode: 0o600, flush: true }));
    const added = addAll(entries, [
      [copy, "ledger.db"],
      ...needed.map((sha256): [string, string] => {
        const path = pathInStore(sha256);
        return [join(filesFolderIn(folder), path), `files/${path.replaceAll("\\", "/")}`];
      }),
    ]);
    await Promise.all([written, added]);
  } finally {
    snapshot.close();
  }
}

/** Adds files to an archive under other names. */
async function addAll(
  archive: Pack,
  files: readonly (readonly [path: string, name: string])[],
): Promise<void> {
  try {
    for (const [path, name] of files) {
      const { size } = await stat(path);
      await pipeline(createReadStream(path), archive.entry({ name, size, mode: 0o600 }));
    }
    archive.finalize();
  } catch (error) {
    archive.destroy(error as Error);
    throw error;
  }
}
