import { Console } from "node:console";
import { isIPv4 } from "node:net";
import type { Readable, Writable } from "node:stream";
import { parseArgs } from "node:util";
import { Engine } from "mflux-depth/engine";
import { MfluxDepthError, OptionError } from "mflux-depth/errors";
import { checkOption, parseOption } from "mflux-depth/options";
import { definition } from "../definition.js";
import { documentationPage } from "../documentation.js";
import { defaultFrameLimit } from "./frames.js";
import { serveStdio } from "./stdio.js";
import { serveWebSocket } from "./websocket.js";
import { Worker } from "./worker.js";

/** What the worker touches of its process. */
export interface WorkerIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ends the worker. */
  readonly signal: AbortSignal;
}

export const summary = "Serve the node MFlux Depth to NodeTool";

export const usage = `Usage: mflux-depth worker [--host HOST] [--port PORT]
       mflux-depth worker --stdio
       mflux-depth worker --describe | --doc

Serves the node MFlux Depth to NodeTool.

  --host HOST
        Where to listen for WebSocket connections. Default 127.0.0.1.
  --port PORT
        0 takes any that is free. Default 8787.
  --stdio
        Speak over standard input and output, as a host does that starts the worker itself.
  --describe
        Print the node's metadata as JSON.
  --doc
        Print the node's documentation page.
  --idle-minutes N
        Let the model go after so long without a run. Default 10.
  --no-token
        Listen beyond this machine although NODETOOL_WORKER_TOKEN is not set.

Environment: NODETOOL_WORKER_TOKEN is what hosts must send as Authorization: Bearer …;
NODETOOL_BRIDGE_MAX_FRAME_SIZE is the most bytes of a frame, both ways (default ${defaultFrameLimit}).
Point NodeTool at the address printed: NODETOOL_WORKER_URL=ws://127.0.0.1:8787
`;

const flags = {
  host: { type: "string" },
  port: { type: "string" },
  stdio: { type: "boolean" },
  describe: { type: "boolean" },
  doc: { type: "boolean" },
  "idle-minutes": { type: "string" },
  "no-token": { type: "boolean" },
} as const;

/**
 * Runs the worker until its signal is aborted or, over pipes, the host has gone.
 * @throws the signal's reason, or {OptionError} for wrong usage.
 */
export async function run(argv: readonly string[], io: WorkerIo): Promise<number> {
  const values = parse(argv);
  // An address or a log that nobody reads is no reason to end.
  for (const stream of [io.stdout, io.stderr]) stream.on("error", () => {});
  if (values.describe) {
    io.stdout.write(`${JSON.stringify(definition, null, 2)}\n`);
    return 0;
  }
  if (values.doc) {
    io.stdout.write(documentationPage(definition));
    return 0;
  }
  const idleMinutes = parseOption(
    "--idle-minutes",
    { type: "number", min: 0 },
    values["idle-minutes"] ?? "10",
  );
  const engine = new Engine({ idleSeconds: Number(idleMinutes) * 60 });
  try {
    await (values.stdio ? overPipes(engine, values, io) : overWebSocket(engine, values, io));
  } finally {
    await engine.close();
  }
  io.signal.throwIfAborted();
  return 0;
}

async function overPipes(engine: Engine, values: Values, io: WorkerIo): Promise<void> {
  for (const name of ["host", "port", "no-token"] as const)
    if (values[name] !== undefined)
      throw new OptionError(`--${name}`, `--${name} has no meaning with --stdio, which does not listen.`);
  // A line printed by anyone would be read as a frame.
  globalThis.console = new Console(io.stderr, io.stderr);
  const frameLimit = frameLimitOf(io);
  const worker = new Worker({ transport: "stdio", engine, frameLimit, log: logTo(io) });
  await serveStdio(worker, io, { frameLimit, signal: io.signal });
}

async function overWebSocket(engine: Engine, values: Values, io: WorkerIo): Promise<void> {
  const { host = "127.0.0.1" } = values;
  if (host.trim() === "")
    throw new OptionError("--host", "--host must be a name or an address; it is blank.");
  const port = integer("--port", values.port ?? "8787", { min: 0, max: 65535 });
  const token = io.env.NODETOOL_WORKER_TOKEN ?? "";
  if (token === "" && !isLoopback(host) && !values["no-token"])
    throw new OptionError(
      "--host",
      `Anyone who reaches ${host} could use this worker: set NODETOOL_WORKER_TOKEN, or say --no-token.`,
    );
  const frameLimit = frameLimitOf(io);
  const worker = new Worker({ transport: "websocket", engine, frameLimit, log: logTo(io) });
  const endpoint = await serveWebSocket(worker, { host, port, token, frameLimit }).catch(
    (error: NodeJS.ErrnoException) => {
      throw new OptionError(
        "--port",
        error.code === "EADDRINUSE"
          ? `Port ${port} of ${host} is in use; choose another with --port.`
          : `Cannot listen on ${host}, port ${port} (${error.code ?? error.message}).`,
        { cause: error },
      );
    },
  );
  io.stdout.write(`${endpoint.url}\n`);
  if (!io.signal.aborted)
    await new Promise((resolve) => io.signal.addEventListener("abort", resolve, { once: true }));
  await endpoint.close();
}

const logTo =
  ({ stderr }: WorkerIo) =>
  (line: string): void =>
    void stderr.write(`${line}\n`);

function frameLimitOf({ env }: WorkerIo): number {
  const name = "NODETOOL_BRIDGE_MAX_FRAME_SIZE";
  return integer(name, env[name] || `${defaultFrameLimit}`, { min: 1024, max: 2 ** 31 - 1 });
}

type Values = ReturnType<typeof parseFlags>["values"];

/** The arguments that a host passes to its own worker, `-m nodetool.worker … --namespaces a,b`, mean nothing here. */
function parse(argv: readonly string[]): Values {
  const own: string[] = [];
  const rest = [...argv];
  while (rest.length > 0) {
    const argument = rest.shift()!;
    if (argument === "-m" || argument === "--namespaces") rest.shift();
    else if (!argument.startsWith("--namespaces=")) own.push(argument);
  }
  return parseFlags(own).values;
}

function parseFlags(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: flags, strict: true });
  } catch (error) {
    // Node's advice after its first sentence is about its own rules.
    const [reason] = (error as Error).message.split(/\.\s|\.$/);
    throw new OptionError("worker", `${reason}; --help lists the flags there are.`, { cause: error });
  }
}

const integer = (name: string, text: string, range: { min: number; max: number }): number => {
  const kind = { type: "integer", ...range } as const;
  return checkOption(name, kind, parseOption(name, kind, text)) as number;
};

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));

/** The executable: runs in this process. @returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr, env } = process;
  if (argv.includes("--help") || argv.includes("-h")) {
    stdout.write(usage);
    return 0;
  }
  const ended = new AbortController();
  let code = 0;
  for (const [name, number] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(name, () => {
      code = number;
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
