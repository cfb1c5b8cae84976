/*
 * The command `mflux-depth serve`.
 */
import { join, resolve } from "node:path";
import envPaths from "env-paths";
import type { Io } from "mflux-depth/command";
import { readSettings, type ServeSettings } from "./flags.js";

export { usage } from "./flags.js";

/**
 * Runs the server until its signal is aborted.
 * @returns the exit code.
 * @throws {OptionError} for wrong usage; the signal's reason when it is aborted.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const settings = readSettings(argv, io.env);
  const folder = folderOf(settings);
  // Each role loads the libraries that it needs, and no others: loading all of them takes most of the start.
  if (settings.backup !== undefined) {
    const { writeBackup } = await import("./serve/backup.js");
    await writeBackup(settings.backup, { folder, overwrite: settings.overwrite });
    io.stdout.write(`${settings.backup}\n`);
    return 0;
  }
  const serve =
    settings.role === "worker"
      ? (await import("./serve/worker.js")).serveWorker
      : (await import("./serve/api.js")).serveApi;
  await serve(settings, folder, io);
  io.signal.throwIfAborted();
  return 0;
}

/** A worker's folder holds nothing of lasting value, and workers may run next to their API. */
function folderOf({ data, role }: ServeSettings): string {
  const usual = envPaths("mflux-depth", { suffix: "" });
  return resolve(data ?? (role === "worker" ? join(usual.cache, "worker") : usual.data));
}
