/* The process that works on jobs of an API on another machine. It opens one port on loopback, for probes. */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { totalmem } from "node:os";
import { join } from "node:path";
import { type Io, listenError, withoutServiceTokens } from "mflux-depth/command";
import { Engine, modelHere } from "mflux-depth/engine";
import { lockFolder } from "../data-folder/lock.js";
import { RedisDispatcher } from "../dispatch/redis/dispatcher.js";
import type { ServeSettings } from "../flags.js";
import { ApiClient } from "../fleet/api-client.js";
import { FleetWorker } from "../fleet/worker.js";
import { logTo } from "../http/logging.js";
import { defaultsOf } from "../jobs/defaults.js";
import { requireModelFiles } from "../model-files.js";
import type { Defaults } from "../requests/resolve.js";
import { serverVersion } from "../version.js";
import { inFolder } from "./data-folder-errors.js";
import { leaseMsOf } from "./lease.js";
import { workerToken } from "./tokens.js";

/** How long the list of models on this machine is cached. */
const modelsMs = 60_000;

/**
 * Works until the signal is aborted.
 * @param folder stores the name that distinguishes this process from others with the same token.
 * @throws {OptionError} for wrong usage, {OutputError} for a folder that cannot be used.
 */
export async function serveWorker(settings: ServeSettings, folder: string, io: Io): Promise<void> {
  const token = await workerToken(settings, io.env);
  requireModelFiles(settings);
  const log = logTo(io.stderr);
  const onProblem = (message: string, error: unknown): void => log.error({ err: error }, message);
  const unlock = await openFolder(folder).catch(inFolder(folder));
  try {
    const process = await processName(folder).catch(inFolder(folder));
    const env = withoutServiceTokens(io.env);
    const { load, allowedModels, idleMinutes } = settings;
    const defaults = await defaultsOf({ load, allowedModels, env });
    const lease = leaseMsOf(io.env);
    const leaseMs = lease === undefined ? {} : { leaseMs: lease };
    const probe = await listenForProbes(settings.port);
    log.info(`listening for /livez at http://127.0.0.1:${(probe.address() as AddressInfo).port}`);
    let isPrinted = false;
    const worker = new FleetWorker({
      api: new ApiClient({ url: settings.api!, token, process }),
      dispatcher: new RedisDispatcher({ url: settings.redis!, onProblem, ...leaseMs }),
      engine: new Engine({ idleSeconds: idleMinutes * 60, imagesAsBytes: true, env }),
      defaults,
      facts: { version: serverVersion, ...machineFacts(defaults) },
      modelsHere: remembered(() => modelsHere(defaults, env), modelsMs),
      ...leaseMs,
      onConnection: (state) => {
        if ("error" in state) {
          log.warn({ reason: state.error.message }, "no new jobs until the API answers");
          return;
        }
        log.info({ worker: state.worker }, "the API has accepted this worker");
        if (!isPrinted) io.stdout.write(`${state.worker}\n`);
        isPrinted = true;
      },
      onProblem,
    });
    worker.start();
    try {
      if (!io.signal.aborted)
        await new Promise((resolve) => io.signal.addEventListener("abort", resolve, { once: true }));
      log.info("stopping");
    } finally {
      await worker.stop();
      probe.close();
      probe.closeAllConnections();
    }
  } finally {
    unlock();
  }
}

/** @returns a function that unlocks the folder. */
async function openFolder(folder: string): Promise<() => void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return lockFolder(folder);
}

/**
 * The name that distinguishes this process from others with the same token. It survives restarts, so that a drained
 * worker stays drained.
 */
async function processName(folder: string): Promise<string> {
  const path = join(folder, "worker");
  const known = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (known !== null && /^[0-9a-f]{8}$/.test(known)) return known;
  const name = randomBytes(4).toString("hex");
  await writeFile(path, name, { mode: 0o600 });
  return name;
}

const machineFacts = ({ load }: Defaults): { readonly device: string; readonly memory_bytes: number } => ({
  device: load.device ?? (process.platform === "darwin" ? "gpu" : "cpu"),
  memory_bytes: Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY),
});

async function modelsHere({ models }: Defaults, env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const found = await Promise.all(
    models.all.map(async ({ name, folder }) => ((await modelHere(folder ?? name, env)).ready ? [name] : [])),
  );
  return found.flat();
}

/** Caches the answer for some time. */
function remembered<T>(ask: () => Promise<T>, milliseconds: number): () => Promise<T> {
  let known: { readonly value: Promise<T>; readonly at: number } | null = null;
  return () => {
    if (!known || performance.now() - known.at > milliseconds)
      known = { value: ask(), at: performance.now() };
    return known.value;
  };
}

/** @throws {OptionError} if it cannot listen on the port. */
async function listenForProbes(port: number): Promise<Server> {
  const server = createServer(({ method, url }, response) => {
    const isProbe = url === "/livez" && (method === "GET" || method === "HEAD");
    response
      .writeHead(isProbe ? 200 : 404, { "content-type": "text/plain" })
      .end(isProbe ? "ok\n" : "not found\n");
  });
  const host = "127.0.0.1";
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(listenError(error, { host, port })));
    server.listen(port, host, resolve);
  });
  return server;
}
