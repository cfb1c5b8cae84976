/* The worker's process: the command `mflux-depth worker`, and a separate executable. */
import { Console } from "node:console";
import { isIPv4 } from "node:net";
import { type Io, listenError, withoutServiceTokens } from "mflux-depth/command";
import { Engine } from "mflux-depth/engine";
import { MfluxDepthError, OptionError } from "mflux-depth/errors";
import { definition } from "../definition.js";
import { documentationPage } from "../documentation.js";
import { frameLimitIn, readFlags, usage, type WorkerFlags } from "./flags.js";
import { serveStdio } from "./stdio.js";
import { Worker } from "./worker.js";

export { usage } from "./flags.js";

/**
 * Runs the worker until its signal is aborted or, over pipes, the host disconnects.
 * @returns the exit code.
 * @throws the signal's reason, or {OptionError} for wrong usage.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const values = readFlags(argv);
  // Continue after the reader of the address or the log has gone.
  for (const stream of [io.stdout, io.stderr]) stream.on("error", () => {});
  if (values.describe) {
    io.stdout.write(`${JSON.stringify(definition, null, 2)}\n`);
    return 0;
  }
  if (values.doc) {
    io.stdout.write(documentationPage(definition));
    return 0;
  }
  const engine = new Engine({
    idleSeconds: 60 * values.idleMinutes,
    env: withoutServiceTokens(io.env),
  });
  try {
    await (values.stdio ? overPipes(engine, values, io) : overWebSocket(engine, values, io));
  } finally {
    await engine.close();
  }
  io.signal.throwIfAborted();
  return 0;
}

async function overPipes(engine: Engine, values: WorkerFlags, io: Io): Promise<void> {
  for (const flag of values.forListening)
    throw new OptionError(flag, `${flag} has no effect with --stdio, which does not listen.`, {
      code: "option-conflict",
    });
  // On standard output, the host would read a printed line as a frame.
  globalThis.console = new Console(io.stderr, io.stderr);
  const frameLimit = frameLimitIn(io.env);
  const worker = new Worker({ transport: "stdio", engine, frameLimit, log: logTo(io) });
  await serveStdio(worker, io, { frameLimit, signal: io.signal });
}

async function overWebSocket(engine: Engine, values: WorkerFlags, io: Io): Promise<void> {
  const { host, port } = values;
  const token = io.env.NODETOOL_WORKER_TOKEN ?? "";
  if (token === "" && !isLoopback(host) && values.token !== false)
    throw new OptionError(
      "--host",
      `Anyone who can reach ${host} could use this worker: set NODETOOL_WORKER_TOKEN, or use --no-token.`,
    );
  const frameLimit = frameLimitIn(io.env);
  const log = logTo(io);
  const worker = new Worker({ transport: "websocket", engine, frameLimit, log });
  // Only a worker that listens needs it.
  const { serveWebSocket } = await import("./websocket.js");
  const endpoint = await serveWebSocket(worker, { host, port, token, frameLimit, log }).catch(
    (error: NodeJS.ErrnoException) => {
      throw listenError(error, { host, port });
    },
  );
  io.stdout.write(`${endpoint.url}\n`);
  if (!io.signal.aborted)
    await new Promise((resolve) => io.signal.addEventListener("abort", resolve, { once: true }));
  await endpoint.close();
}

const logTo =
  ({ stderr }: Io) =>
  (line: string): void =>
    void stderr.write(`${line}\n`);

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

/** Runs the worker as an executable, in this process. @returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr, env } = process;
  if (argv.includes("--help") || argv.includes("-h")) {
    stdout.write(usage);
    return 0;
  }
  const ended = new AbortController();
  let code = 0;
  for (const [signal, exitCode] of Object.entries(exitCodes))
    process.once(signal, () => {
      code = exitCode;
      ended.abort();
    });
  try {
    return await run(argv, { stdin, stdout, stderr, env, signal: ended.signal });
  } catch (error) {
    if (ended.signal.aborted) return code;
    if (!(error instanceof MfluxDepthError)) throw error;
    stderr.write(`${error.message}\n`);
    return error.exitCode;
  }
}
