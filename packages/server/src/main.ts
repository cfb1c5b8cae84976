/*
 * The command `mflux-depth serve`.
 */
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import envPaths from "env-paths";
import type { FastifyInstance } from "fastify";
import { type Io, listenError, withoutServiceTokens } from "mflux-depth/command";
import { OptionError, OutputError } from "mflux-depth/errors";
import { buildApp } from "./app.js";
import { openInBrowser } from "./browser.js";
import { ServiceError } from "./errors.js";
import { readSettings, type ServeSettings } from "./flags.js";
import { isLoopback } from "./http/access.js";
import { type Logger, logJobs, logTo } from "./http/logging.js";
import { Metrics } from "./http/metrics.js";
import { Sessions, sessionSecret } from "./http/sessions.js";
import { JobService } from "./jobs/service.js";
import { requireModelFiles } from "./model-files.js";
import { backUp } from "./upkeep/backup.js";

export { usage } from "./flags.js";

/** How long waiting requests and streams may take to end. */
const closeMs = 1000;

/**
 * Runs the server until its signal is aborted.
 * @returns the exit code.
 * @throws {OptionError} for wrong usage; the signal's reason when it is aborted.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const settings = readSettings(argv, io.env);
  const folder = resolve(settings.data ?? envPaths("mflux-depth", { suffix: "" }).data);
  if (settings.backup !== undefined) {
    await backUp(folder, resolve(settings.backup)).catch(inFolder(folder));
    return 0;
  }
  const token = await tokenOf(settings, io.env);
  requireToken(settings, token);
  requireModelFiles(settings);
  const log = logTo(io.stderr);
  const metrics = new Metrics();
  const service = await JobService.open({
    folder,
    load: settings.load,
    allowedModels: settings.allowedModels,
    maxQueue: settings.maxQueue,
    idleMinutes: settings.idleMinutes,
    ...(settings.keepDays !== undefined && { keepDays: settings.keepDays }),
    ...(settings.keepGb !== undefined && { keepGb: settings.keepGb }),
    env: withoutServiceTokens(io.env),
    onMeasurement: metrics.observe,
    onProblem: (message, error) => log.error({ err: error }, message),
  }).catch(inFolder(folder));
  try {
    await serve(settings, { io, token, folder, service, log, metrics });
  } finally {
    await service.close();
  }
  io.signal.throwIfAborted();
  return 0;
}

interface Parts {
  readonly io: Io;
  readonly token: string | null;
  readonly folder: string;
  readonly service: JobService;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Answers requests until the signal is aborted. */
async function serve(settings: ServeSettings, parts: Parts): Promise<void> {
  const { io, token, folder, service, log, metrics } = parts;
  const stopLogging = logJobs(service, log, { prompts: settings.logPrompts });
  const app = await buildApp({
    service,
    log,
    metrics,
    access: {
      token,
      allowedHosts: settings.allowedHosts,
      sessions: new Sessions(await sessionSecret(folder), token ?? ""),
    },
    maxQueue: settings.maxQueue,
    studioFolder: fileURLToPath(new URL("../../studio/", import.meta.url)),
    stopping: io.signal,
  });
  try {
    const url = await listen(app, settings);
    io.stdout.write(`${url}\n`);
    if (settings.open) openInBrowser(url, { env: io.env, complain: (message) => log.warn(message) });
    if (!io.signal.aborted)
      await new Promise((resolve) => io.signal.addEventListener("abort", resolve, { once: true }));
    log.info("stopping");
  } finally {
    // Whoever is still reading then has seen what there was.
    setTimeout(() => app.server.closeAllConnections(), closeMs).unref();
    await app.close();
    stopLogging();
  }
}

/** @returns the address. @throws {OptionError} for a place that cannot be listened on. */
async function listen(app: FastifyInstance, { host, port }: ServeSettings): Promise<string> {
  await app
    .listen({ host, port, listenTextResolver: (address) => `listening at ${address}` })
    .catch((error: NodeJS.ErrnoException) => {
      throw listenError(error, { host, port });
    });
  const address = app.server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}

/** The token of the file or the environment; null without one. */
async function tokenOf({ tokenFile }: ServeSettings, env: Io["env"]): Promise<string | null> {
  const fromEnv = env.MFLUX_DEPTH_TOKEN?.trim() ?? "";
  if (tokenFile === undefined) return fromEnv === "" ? null : checkedToken(fromEnv, "MFLUX_DEPTH_TOKEN");
  const token = await readFile(tokenFile, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new OptionError("--token-file", `The token file cannot be read (${error.code}).`, { cause: error });
  });
  return checkedToken(token.trim(), "--token-file");
}

/** @throws {OptionError} for a token that no header can carry. */
function checkedToken(token: string, source: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new OptionError(
    source,
    `The token of ${source} must be one line of visible ASCII characters, without spaces.`,
  );
}

/** @throws {OptionError} when others could reach a server without a token. */
function requireToken({ host, allowedHosts }: ServeSettings, token: string | null): void {
  if (token !== null) return;
  const [flag, reason] = isLoopback(host)
    ? ["--allow-host", "whoever reaches this server by that name"]
    : ["--host", `whoever can reach ${host}`];
  if (isLoopback(host) && allowedHosts.length === 0) return;
  throw new OptionError(
    flag,
    `${flag} needs a token, or ${reason} could use it: set MFLUX_DEPTH_TOKEN or --token-file.`,
    { code: "option-missing" },
  );
}

/** For a data folder that cannot be used: throws an error that the command line reports as a sentence. */
const inFolder =
  (folder: string) =>
  (error: unknown): never => {
    if (error instanceof ServiceError) throw new OutputError(folder, error.message, { cause: error });
    const { code = "", message } = error as NodeJS.ErrnoException;
    // The codes of the file system and of SQLite.
    if (/^(E[A-Z]+|SQLITE_\w+)$/.test(code)) {
      const reason = message.startsWith(code) ? message : `${message} (${code})`;
      throw new OutputError(folder, `The data folder cannot be used: ${reason}.`, {
        cause: error,
      });
    }
    throw error;
  };
