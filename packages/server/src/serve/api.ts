/* The process that has the ledger and answers clients. By default it also works on jobs. */
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import type { FastifyInstance } from "fastify";
import { type Io, listenError, withoutServiceTokens } from "mflux-depth/command";
import { OptionError } from "mflux-depth/errors";
import { buildApp } from "../app.js";
import { openInBrowser } from "../browser.js";
import { sessionSecret } from "../data-folder/session-secret.js";
import { RedisTaken } from "../dispatch/redis/ownership.js";
import type { ServeSettings } from "../flags.js";
import { type Logger, logJobs, logTo } from "../http/logging.js";
import { Metrics } from "../http/metrics.js";
import { Sessions } from "../http/sessions.js";
import type { WorkerTokens } from "../http/worker-tokens.js";
import { JobService } from "../jobs/service.js";
import { requireModelFiles } from "../model-files.js";
import { inFolder } from "./data-folder-errors.js";
import { leaseMsOf } from "./lease.js";
import { clientToken, requireToken, workerTokens } from "./tokens.js";

/** How long waiting requests and streams may take to finish. */
const closeMs = 1000;

/**
 * Serves until the signal is aborted.
 * @param folder the data folder.
 * @throws {OptionError} for wrong usage, {OutputError} for a data folder that cannot be used.
 */
export async function serveApi(settings: ServeSettings, folder: string, io: Io): Promise<void> {
  const token = await clientToken(settings, io.env);
  requireToken(settings, token);
  const { role, workerTokenFile } = settings;
  if (role === "all") requireModelFiles(settings);
  const log = logTo(io.stderr);
  const onProblem = (message: string, error: unknown): void => log.error({ err: error }, message);
  const workers = workerTokenFile === undefined ? null : workerTokens(workerTokenFile, onProblem);
  const metrics = new Metrics();
  const service = await JobService.open({
    folder,
    load: settings.load,
    allowedModels: settings.allowedModels,
    maxQueue: settings.maxQueue,
    idleMinutes: settings.idleMinutes,
    ...(settings.keepDays !== undefined && { keepDays: settings.keepDays }),
    ...(settings.keepGb !== undefined && { keepGb: settings.keepGb }),
    redis: settings.redis,
    works: role === "all",
    leaseMs: leaseMsOf(io.env),
    env: withoutServiceTokens(io.env),
    onMeasurement: metrics.observe,
    onProblem,
  }).catch(refused(folder));
  try {
    await serve(settings, { io, token, workers, folder, service, log, metrics });
  } finally {
    await service.close();
  }
}

/** For a service that cannot be opened. */
const refused =
  (folder: string) =>
  (error: unknown): never => {
    if (error instanceof RedisTaken) throw new OptionError("--redis", error.message, { cause: error });
    return inFolder(folder)(error);
  };

interface Parts {
  readonly io: Io;
  readonly token: string | null;
  /** Null if no workers may connect. */
  readonly workers: WorkerTokens | null;
  readonly folder: string;
  readonly service: JobService;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Answers requests until the signal is aborted. */
async function serve(settings: ServeSettings, parts: Parts): Promise<void> {
  const { io, token, workers, folder, service, log, metrics } = parts;
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
    workerTokens: workers,
    maxQueue: settings.maxQueue,
    studioFolder: fileURLToPath(new URL("../../../studio/", import.meta.url)),
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
    // Readers that are still connected have received all events by then.
    setTimeout(() => app.server.closeAllConnections(), closeMs).unref();
    await app.close();
    stopLogging();
  }
}

/** @returns the address. @throws {OptionError} if it cannot listen there. */
async function listen(app: FastifyInstance, { host, port }: ServeSettings): Promise<string> {
  await app
    .listen({ host, port, listenTextResolver: (address) => `listening at ${address}` })
    .catch((error: NodeJS.ErrnoException) => {
      throw listenError(error, { host, port });
    });
  const address = app.server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}
