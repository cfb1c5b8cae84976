import { MfluxDepthError, OptionError } from "../errors.js";
import { nearest } from "../options/index.js";
import { packageVersion } from "../version.js";
import { messageWithAdvice } from "./advice.js";
import type { Command, Io } from "./command.js";

/** The commands, each read when it is called. */
const commands: Readonly<Record<string, { summary: string; load: () => Promise<Command> }>> = {
  generate: {
    summary: "Make a picture from a prompt and a depth map",
    load: async () => (await import("./generate.js")).generate,
  },
  depth: {
    summary: "Infer depth maps from photos",
    load: async () => (await import("./depth.js")).depth,
  },
  download: {
    summary: "Download a model's files ahead of the first run",
    load: async () => (await import("./download.js")).download,
  },
  save: {
    summary: "Save a model quantized, to load in seconds here and in mflux",
    load: async () => (await import("./save.js")).save,
  },
  info: {
    summary: "Print the parameters inside a picture",
    load: async () => (await import("./info.js")).info,
  },
  worker: {
    summary: "Serve the node MFlux Depth to NodeTool",
    load: async () => (await import("./worker.js")).loadWorker(),
  },
  plan: {
    summary: "Say how much memory a generation would take, without loading anything",
    load: async () => (await import("./plan.js")).plan,
  },
  doctor: {
    summary: "Say what this machine offers, what is missing, and how to fix it",
    load: async () => (await import("./doctor.js")).doctor,
  },
};

const usage = (): string => {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const list = names.map((name) => `  ${name.padEnd(width)}  ${commands[name]!.summary}`);
  return `mflux-depth ${packageVersion()}: depth-guided pictures with FLUX.1 Depth on MLX

Usage: mflux-depth COMMAND [FLAGS]

${list.join("\n")}

mflux-depth COMMAND --help says more. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.
`;
};

/** Why a run was stopped from outside. */
class Stopped extends Error {
  override readonly name = "AbortError";

  constructor(
    signal: "SIGINT" | "SIGTERM",
    readonly exitCode = signal === "SIGINT" ? 130 : 143,
  ) {
    super(`stopped by ${signal}`);
  }
}

/** Runs one command line. @returns the exit code. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    if (io.signal.aborted) return io.signal.reason instanceof Stopped ? io.signal.reason.exitCode : 130;
    return report(error, io);
  }
}

async function dispatch(argv: readonly string[], io: Io): Promise<number> {
  const [first, ...rest] = argv;
  if (first === undefined) {
    io.stderr.write(usage());
    return 2;
  }
  if (first === "--version" || first === "-V") {
    io.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const asksHelp = first === "help" || first === "--help" || first === "-h";
  const name = asksHelp ? rest[0] : first;
  if (name === undefined) {
    io.stdout.write(usage());
    return 0;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!entry) {
    const near = nearest(name, Object.keys(commands));
    throw new OptionError(
      name,
      `There is no command ${name}${near ? `; did you mean ${near}?` : `; there are ${Object.keys(commands).join(", ")}.`}`,
    );
  }
  const command = await entry.load();
  const ended = rest.indexOf("--");
  const flags = ended < 0 ? rest : rest.slice(0, ended);
  if (asksHelp || flags.includes("--help") || flags.includes("-h")) {
    io.stdout.write(command.usage);
    return 0;
  }
  return (await command.run(rest, io)) ?? 0;
}

/** Says in one sentence what went wrong. */
function report(error: unknown, io: Io): number {
  const debug = Boolean(io.env.MFLUX_DEPTH_DEBUG);
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  if (debug) io.stderr.write(`${stack ?? message}\n`);
  else if (error instanceof MfluxDepthError) io.stderr.write(`${messageWithAdvice(error)}\n`);
  else if (name === "MlxError") io.stderr.write(`${message}\n`);
  else io.stderr.write(`Unexpected error: ${message} (MFLUX_DEPTH_DEBUG=1 shows where)\n`);
  return error instanceof MfluxDepthError ? error.exitCode : 1;
}

/** Runs the command line of this process and leaves its exit code in `process.exitCode`. */
export async function runProcess(): Promise<void> {
  const controller = new AbortController();
  const stop = (name: "SIGINT" | "SIGTERM") => (): void => {
    const reason = new Stopped(name);
    if (controller.signal.aborted) process.exit(reason.exitCode);
    process.stderr.write("\nStopping …\n");
    controller.abort(reason);
  };
  const handlers = { SIGINT: stop("SIGINT"), SIGTERM: stop("SIGTERM") };
  for (const [name, handler] of Object.entries(handlers)) process.on(name, handler);
  // Progress that nobody reads any more is no reason to end.
  process.stderr.on("error", () => {});
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // A reader that has seen enough, as in `mflux-depth … | head`, is no failure.
    if (error.code === "EPIPE") process.exit(0);
    process.stderr.write(`Standard output cannot be written (${error.message}).\n`);
    process.exit(1);
  });
  process.exitCode = await main(process.argv.slice(2), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: controller.signal,
  });
  for (const [name, handler] of Object.entries(handlers)) process.off(name, handler);
}
