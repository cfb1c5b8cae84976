/*
 * The worker's flags and environment variables.
 */
import { describeFlags, type FlagValues, parseFlags, refusePositionals } from "mflux-depth/command";
import { type OptionTable, parseOption } from "mflux-depth/options";
import { defaultFrameLimit } from "./frames.js";

/** Where and how the worker listens. */
const listeningFlags = {
  host: {
    kind: { type: "text" },
    default: "127.0.0.1",
    text: "The address to listen on for WebSocket connections.",
    flags: ["--host"],
    value: "HOST",
  },
  port: {
    kind: { type: "integer", min: 0, max: 65535 },
    default: 8787,
    text: "The port to listen on; 0 takes any free port.",
    flags: ["--port"],
    value: "PORT",
  },
  /** False with --no-token. */
  token: {
    kind: { type: "boolean" },
    text: "Listen on other addresses without NODETOOL_WORKER_TOKEN.",
    flags: ["--no-token"],
  },
} as const satisfies OptionTable;

const otherFlags = {
  stdio: {
    kind: { type: "boolean" },
    text: "Speak over standard input and output, for a host that starts the worker itself.",
    flags: ["--stdio"],
  },
  idleMinutes: {
    kind: { type: "number", min: 0 },
    default: 10,
    text: "Release the model after this time without a run.",
    flags: ["--idle-minutes"],
    value: "N",
  },
  describe: {
    kind: { type: "boolean" },
    text: "Print the node's metadata as JSON.",
    flags: ["--describe"],
  },
  doc: {
    kind: { type: "boolean" },
    text: "Print the node's documentation page.",
    flags: ["--doc"],
  },
} as const satisfies OptionTable;

const workerFlags = { ...listeningFlags, ...otherFlags };

export const usage = `Usage: mflux-depth worker [--host HOST] [--port PORT]
       mflux-depth worker --stdio
       mflux-depth worker --describe | --doc

Serves the MFlux Depth node to NodeTool.

${describeFlags("WebSocket", listeningFlags)}
${describeFlags("Other", otherFlags)}
Environment: hosts must send NODETOOL_WORKER_TOKEN as Authorization: Bearer …;
NODETOOL_BRIDGE_MAX_FRAME_SIZE limits the bytes of a frame in both directions (default ${defaultFrameLimit}).
Point NodeTool at the address printed: NODETOOL_WORKER_URL=ws://127.0.0.1:8787
`;

/** The values of the worker's flags, with defaults for those that have one. */
export type WorkerFlags = FlagValues<typeof workerFlags> &
  Required<Pick<FlagValues<typeof workerFlags>, "host" | "port" | "idleMinutes">> & {
    /** The flags that were given but only matter for listening. */
    readonly forListening: readonly string[];
  };

/**
 * Reads the flags. Arguments that hosts pass to their own worker, `-m nodetool.worker … --namespaces a,b`, are ignored.
 * @throws {OptionError} for an unknown flag, or a value outside its range.
 */
export function readFlags(argv: readonly string[]): WorkerFlags {
  const { values, positionals } = parseFlags(workerFlags, withoutHostArguments(argv));
  refusePositionals(positionals);
  const { host, port, idleMinutes } = workerFlags;
  const forListening = Object.entries(listeningFlags)
    .filter(([name]) => name in values)
    .map(([, { flags }]) => flags[0]);
  return {
    host: host.default,
    port: port.default,
    idleMinutes: idleMinutes.default,
    ...values,
    forListening,
  };
}

function withoutHostArguments(argv: readonly string[]): string[] {
  const own: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    if (argument === "-m" || argument === "--namespaces") i++;
    else if (!argument.startsWith("--namespaces=")) own.push(argument);
  }
  return own;
}

/** The maximum size of a frame in bytes. @throws {OptionError} for a value out of range. */
export function frameLimitIn(env: Readonly<Record<string, string | undefined>>): number {
  const name = "NODETOOL_BRIDGE_MAX_FRAME_SIZE";
  const kind = { type: "integer", min: 1024, max: 2 ** 31 - 1 } as const;
  return parseOption(name, kind, env[name] || `${defaultFrameLimit}`) as number;
}
