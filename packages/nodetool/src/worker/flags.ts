/*
 * The worker's flags and environment variables.
 */
import { parseArgs } from "node:util";
import { OptionError } from "mflux-depth/errors";
import { type OptionKind, parseOption } from "mflux-depth/options";
import { defaultFrameLimit } from "./frames.js";

const defaults = { host: "127.0.0.1", port: "8787", idleMinutes: "10" } as const;

export const usage = `Usage: mflux-depth worker [--host HOST] [--port PORT]
       mflux-depth worker --stdio
       mflux-depth worker --describe | --doc

Serves the MFlux Depth node to NodeTool.

  --host HOST
        The address to listen on for WebSocket connections. Default ${defaults.host}.
  --port PORT
        The port to listen on; 0 takes any free port. Default ${defaults.port}.
  --stdio
        Speak over standard input and output, for a host that starts the worker itself.
  --describe
        Print the node's metadata as JSON.
  --doc
        Print the node's documentation page.
  --idle-minutes N
        Release the model after this time without a run. Default ${defaults.idleMinutes}.
  --no-token
        Listen on other addresses without NODETOOL_WORKER_TOKEN.

Environment: hosts must send NODETOOL_WORKER_TOKEN as Authorization: Bearer …;
NODETOOL_BRIDGE_MAX_FRAME_SIZE limits the bytes of a frame in both directions (default ${defaultFrameLimit}).
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

/** The values of the worker's flags. Checked when they are used: a host's own arguments may be mixed in. */
export type WorkerFlags = ReturnType<typeof strictly>["values"];

/**
 * Reads the flags. Arguments that hosts pass to their own worker, `-m nodetool.worker … --namespaces a,b`, are ignored.
 * @throws {OptionError} for an unknown flag.
 */
export function parseFlags(argv: readonly string[]): WorkerFlags {
  const own: string[] = [];
  const rest = [...argv];
  while (rest.length > 0) {
    const argument = rest.shift()!;
    if (argument === "-m" || argument === "--namespaces") rest.shift();
    // Node takes a negative number for another flag.
    else if (/^--(port|idle-minutes)$/.test(argument) && /^-\d/.test(rest[0] ?? ""))
      own.push(`${argument}=${rest.shift()}`);
    else if (!argument.startsWith("--namespaces=")) own.push(argument);
  }
  return strictly(own).values;
}

function strictly(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: flags, strict: true });
  } catch (error) {
    // Node's advice after the first sentence is about its own rules.
    const [reason] = (error as Error).message.split(/\.\s|\.$/);
    throw new OptionError("worker", `${reason}; --help lists the flags.`, {
      code: "option-unknown",
      cause: error,
    });
  }
}

export const idleSecondsIn = (values: WorkerFlags): number =>
  60 * number("--idle-minutes", values["idle-minutes"] ?? defaults.idleMinutes, { type: "number", min: 0 });

/** The address and port to listen on. @throws {OptionError} for a blank address or a port outside the range. */
export function placeIn({ host = defaults.host, port = defaults.port }: WorkerFlags): {
  readonly host: string;
  readonly port: number;
} {
  if (host.trim() === "")
    throw new OptionError("--host", "--host must be a name or an address; it is blank.");
  return { host, port: number("--port", port, { type: "integer", min: 0, max: 65535 }) };
}

/** The most bytes of a frame. @throws {OptionError} for a value outside the range. */
export function frameLimitIn(env: Readonly<Record<string, string | undefined>>): number {
  const name = "NODETOOL_BRIDGE_MAX_FRAME_SIZE";
  return number(name, env[name] || `${defaultFrameLimit}`, { type: "integer", min: 1024, max: 2 ** 31 - 1 });
}

const number = (name: string, text: string, kind: OptionKind): number =>
  parseOption(name, kind, text) as number;
