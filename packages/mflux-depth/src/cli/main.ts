import type { Command, Io } from "../command/index.js";
import { MfluxDepthError, OptionError } from "../errors.js";
import { nearest } from "../options/index.js";
import { packageVersion } from "../version.js";
import { messageWithAdvice } from "./advice.js";
import { loadCompanion } from "./companion.js";
import { printable } from "./printable.js";
import { commandStop, listenToSignals, Stopped, serviceStop } from "./signals.js";

interface ListedCommand {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Loads the command's module. */
  readonly load: () => Promise<Command>;
  /** Whether it runs until it is stopped. Stopping is then not a failure, and may take seconds. */
  readonly isService?: true;
}

/** The commands by name; a module is loaded only when its command is called. */
const commands: Readonly<Record<string, ListedCommand>> = {
  generate: {
    summary: "Generate an image from a prompt and a depth map",
    load: async () => (await import("./generate.js")).generate,
  },
  depth: {
    summary: "Infer depth maps from photos",
    load: async () => (await import("./depth.js")).depth,
  },
  score: {
    summary: "Score how faithfully an image keeps the geometry of a depth map",
    load: async () => (await import("./score.js")).score,
  },
  download: {
    summary: "Download a model's files before the first run",
    load: async () => (await import("./download.js")).download,
  },
  save: {
    summary: "Save a quantized model that loads in seconds, here and in mflux",
    load: async () => (await import("./save.js")).save,
  },
  info: {
    summary: "Print the parameters inside an image",
    load: async () => (await import("./info.js")).info,
  },
  inspect: {
    summary: "Say what a model or a LoRA is, and whether it would load here",
    load: async () => (await import("./inspect.js")).inspect,
  },
  worker: {
    summary: "Serve the MFlux Depth node to NodeTool",
    load: () => loadCompanion("worker", "@mflux-depth/nodetool/worker"),
  },
  serve: {
    summary: "Serve generation over HTTP, with a web page",
    load: () => loadCompanion("serve", "@mflux-depth/server"),
    isService: true,
  },
  plan: {
    summary: "Estimate the memory a generation needs, without loading anything",
    load: async () => (await import("./plan.js")).plan,
  },
  doctor: {
    summary: "Report this machine's state, its problems and how to fix them",
    load: async () => (await import("./doctor.js")).doctor,
  },
};

const usage = (): string => {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const list = names.map((name) => `  ${name.padEnd(width)}  ${commands[name]!.summary}`);
  return `mflux-depth ${packageVersion()}: depth-guided image generation with FLUX.1 Depth on MLX

Usage: mflux-depth COMMAND [FLAGS]

${list.join("\n")}

Run mflux-depth COMMAND --help for its flags. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.
`;
};

/** Runs a command line. @returns the exit code. */
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
  const entry = listed(name);
  if (!entry) {
    const suggestion = nearest(name, Object.keys(commands));
    const hint = suggestion
      ? `did you mean ${suggestion}?`
      : `the commands are ${Object.keys(commands).join(", ")}.`;
    throw new OptionError(name, `There is no command ${name}; ${hint}`, {
      code: "option-unknown",
      details: suggestion === undefined ? {} : { suggestion },
    });
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

const listed = (name: string): ListedCommand | undefined =>
  Object.hasOwn(commands, name) ? commands[name] : undefined;

/** Prints what went wrong, in one sentence. @returns the exit code. */
function report(error: unknown, io: Io): number {
  const debug = isSwitchedOn(io.env.MFLUX_DEPTH_DEBUG);
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  if (debug) io.stderr.write(`${stack ?? message}\n`);
  else if (error instanceof MfluxDepthError) io.stderr.write(`${printable(messageWithAdvice(error))}\n`);
  else if (name === "MlxError") io.stderr.write(`${printable(message)}\n`);
  else io.stderr.write(`Unexpected error: ${printable(message)} (MFLUX_DEPTH_DEBUG=1 shows where)\n`);
  return error instanceof MfluxDepthError ? error.exitCode : 1;
}

/** Whether an environment variable switches something on: any value except the usual ones for "off". */
const isSwitchedOn = (value = ""): boolean => !/^(|0|off|no|false)$/i.test(value.trim());

/** Runs this process's command line and leaves the exit code in `process.exitCode`. */
export async function runProcess(): Promise<void> {
  const isService = listed(process.argv[2] ?? "")?.isService;
  const signals = listenToSignals(isService ? serviceStop : commandStop);
  // Continue when the reader of progress has closed the stream.
  process.stderr.on("error", () => {});
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader has stopped, as in `mflux-depth … | head`: not a failure.
    if (error.code === "EPIPE") process.exit(0);
    process.stderr.write(`Standard output cannot be written (${error.message}).\n`);
    process.exit(1);
  });
  process.exitCode = await main(process.argv.slice(2), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: signals.signal,
  });
  signals.finish(process.exitCode);
}
