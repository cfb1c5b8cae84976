/*
 * The flags of `mflux-depth serve`.
 */
import { describeFlags, type Io, parseFlags, pick, refusePositionals } from "mflux-depth/command";
import { OptionError } from "mflux-depth/errors";
import { type LoadOptions, loadOptions, type OptionTable, optionsFor } from "mflux-depth/options";
import type { AllowedModel } from "./jobs/settings.js";

const placeFlags = {
  host: {
    kind: { type: "text" },
    text: "The address to listen on. Anything but a loopback address requires a token.",
    default: "127.0.0.1",
    flags: ["--host"],
    value: "ADDRESS",
  },
  port: {
    kind: { type: "integer", min: 0, max: 65_535 },
    text: "The port to listen on; 0 picks a free one.",
    default: 4280,
    flags: ["--port"],
    value: "N",
  },
  allowHost: {
    kind: { type: "text" },
    text: "A host name by which clients reach this server, such as a proxy's; requires a token.",
    flags: ["--allow-host"],
    value: "NAME",
    many: true,
  },
  tokenFile: {
    kind: { type: "text" },
    text: "A file with the token that callers must send; MFLUX_DEPTH_TOKEN holds the token itself.",
    flags: ["--token-file"],
    value: "FILE",
  },
  open: { kind: { type: "boolean" }, text: "Open the studio in a browser.", flags: ["--open"] },
} as const satisfies OptionTable;

const dataFlags = {
  data: {
    kind: { type: "text" },
    text: "The folder that holds jobs and pictures.",
    defaultText: "the platform's folder for application data",
    flags: ["--data"],
    value: "DIR",
  },
  keepDays: {
    kind: { type: "number", min: 0, exclusiveMin: true },
    text: "Delete finished jobs after this many days, except starred ones.",
    defaultText: "keep them",
    flags: ["--keep-days"],
    value: "N",
  },
  keepGb: {
    kind: { type: "number", min: 0, exclusiveMin: true },
    text: "Delete the oldest finished jobs, except starred ones, when their files take more than this, in GB (10⁹ bytes).",
    defaultText: "keep them",
    flags: ["--keep-gb"],
    value: "GB",
  },
  backup: {
    kind: { type: "text" },
    text: "Write a backup of the data folder to a file, then exit. It works while a server is running.",
    flags: ["--backup"],
    value: "FILE",
  },
  overwrite: {
    kind: { type: "boolean" },
    text: "Let --backup replace an existing file.",
    flags: ["--overwrite"],
  },
} as const satisfies OptionTable;

const jobFlags = {
  maxQueue: {
    kind: { type: "integer", min: 1, max: 100_000 },
    text: "How many jobs may wait.",
    default: 1000,
    flags: ["--max-queue"],
    value: "N",
  },
  idleMinutes: {
    kind: { type: "number", min: 0, exclusiveMin: true },
    text: "Unload the model after this many minutes without a job.",
    default: 10,
    flags: ["--idle-minutes"],
    value: "N",
  },
  allowModel: {
    kind: { type: "text" },
    text: "A model that requests may name: a repository, or NAME=FOLDER, where clients see only NAME.",
    flags: ["--allow-model"],
    value: "NAME",
    many: true,
  },
  logPrompts: {
    kind: { type: "boolean" },
    text: "Log prompts too.",
    flags: ["--log-prompts"],
  },
} as const satisfies OptionTable;

const fleetFlags = {
  role: {
    kind: { type: "choice", values: ["all", "api", "worker"] },
    text: "What this process does: everything (all), answer clients (api), or run the jobs of an API on another machine (worker).",
    default: "all",
    flags: ["--role"],
    value: "ROLE",
  },
  redis: {
    kind: { type: "text" },
    text: "The Redis through which workers get jobs, as redis://USER:PASSWORD@HOST:PORT, or rediss:// with TLS.",
    flags: ["--redis"],
    env: "MFLUX_DEPTH_REDIS",
    value: "URL",
  },
  api: {
    kind: { type: "text" },
    text: "For a worker: the address of its API, such as https://depth.example.org.",
    flags: ["--api"],
    value: "URL",
  },
  workerTokenFile: {
    kind: { type: "text" },
    text: "For an API: a file with one line NAME TOKEN per worker. For a worker: a file with its token; MFLUX_DEPTH_WORKER_TOKEN holds the token itself.",
    flags: ["--worker-token-file"],
    value: "FILE",
  },
} as const satisfies OptionTable;

const { default: _, ...model } = loadOptions.model;
const loadFlags = {
  ...optionsFor(loadOptions, "generate"),
  model: { ...model, defaultText: "FLUX.1-Depth-dev if it is on this machine, otherwise tiny-world" },
} as const satisfies OptionTable;

const helpFlag = {
  help: { kind: { type: "boolean" }, text: "Show this text.", flags: ["--help", "-h"] },
} as const satisfies OptionTable;

const flags = { ...placeFlags, ...dataFlags, ...jobFlags, ...fleetFlags, ...loadFlags, ...helpFlag };

/** The full text of `--help`. */
export const usage = `Usage: mflux-depth serve [FLAGS]

Serves depth-guided generation over HTTP, and the studio, a web page, on the same address. Jobs outlive this process.
The address is printed on standard output once requests are accepted; the log goes to standard error.

${describeFlags("The server", placeFlags)}
${describeFlags("The data", dataFlags)}
${describeFlags("The jobs", jobFlags)}
${describeFlags("Many machines", fleetFlags)}
${describeFlags("The model of requests that name none", { ...loadFlags, ...helpFlag })}
Example: mflux-depth serve --open
`;

export type Role = "all" | "api" | "worker";

export interface ServeSettings {
  readonly role: Role;
  /** Set for every role but `all`. */
  readonly redis: string | undefined;
  /** The address of a worker's API, without a slash at its end. */
  readonly api: string | undefined;
  readonly workerTokenFile: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly tokenFile: string | undefined;
  readonly open: boolean;
  readonly data: string | undefined;
  readonly keepDays: number | undefined;
  readonly keepGb: number | undefined;
  readonly backup: string | undefined;
  readonly overwrite: boolean;
  readonly maxQueue: number;
  readonly idleMinutes: number;
  readonly allowedModels: readonly AllowedModel[];
  readonly logPrompts: boolean;
  readonly load: LoadOptions;
}

/** @throws {OptionError} for wrong usage. */
export function readSettings(argv: readonly string[], env: Io["env"]): ServeSettings {
  const { values, positionals } = parseFlags(flags, argv, env);
  refusePositionals(positionals);
  const role = values.role ?? fleetFlags.role.default;
  requireFlagsOfRole(role, values);
  return {
    role,
    redis: values.redis === undefined ? undefined : redisUrl(values.redis),
    api: values.api === undefined ? undefined : apiUrl(values.api),
    workerTokenFile: values.workerTokenFile,
    host: values.host ?? placeFlags.host.default,
    // A worker's port only serves probes, and several workers may run on one machine.
    port: values.port ?? (role === "worker" ? 0 : placeFlags.port.default),
    allowedHosts: (values.allowHost ?? []).map(allowedHost),
    tokenFile: values.tokenFile,
    open: values.open ?? false,
    data: values.data,
    keepDays: values.keepDays,
    keepGb: values.keepGb,
    backup: values.backup,
    overwrite: values.overwrite ?? false,
    maxQueue: values.maxQueue ?? jobFlags.maxQueue.default,
    idleMinutes: values.idleMinutes ?? jobFlags.idleMinutes.default,
    allowedModels: (values.allowModel ?? []).map(allowedModel),
    logPrompts: values.logPrompts ?? false,
    load: pick(values, loadFlags),
  };
}

type Values = Readonly<Partial<Record<keyof typeof flags, unknown>>>;

/** Flags for processes that answer clients. */
const apiFlags = [
  ...["host", "allowHost", "tokenFile", "open", "keepDays", "keepGb", "backup", "maxQueue", "logPrompts"],
] as (keyof typeof flags)[];

/** @throws {OptionError} for flags that the role requires and that are missing, or that it does not allow. */
function requireFlagsOfRole(role: Role, values: Values): void {
  const need = (name: keyof typeof fleetFlags, reason: string): void => {
    const [flag] = fleetFlags[name].flags;
    if (values[name] === undefined)
      throw new OptionError(flag, `--role ${role} needs ${flag}: ${reason}.`, { code: "option-missing" });
  };
  const refuse = (name: keyof typeof flags, reason: string): void => {
    const flag = flags[name].flags![0]!;
    if (values[name] !== undefined)
      throw new OptionError(flag, `${flag} ${reason}.`, { code: "option-conflict" });
  };
  if (role !== "all") need("redis", "the Redis through which workers get jobs");
  if (role === "api") need("workerTokenFile", "the tokens of its workers");
  if (role === "worker") {
    need("api", "the address to which it reports");
    for (const name of apiFlags) refuse(name, "is for the API, not for a worker; leave it out");
  } else refuse("api", "is for --role worker; leave it out");
  if (values.backup === undefined) refuse("overwrite", "is for --backup; leave it out");
  if (values.redis === undefined)
    refuse("workerTokenFile", "is for workers, which get their jobs through Redis; add --redis");
}

/** @throws {OptionError} for anything but the address of a Redis. The message does not repeat it: it has a password. */
function redisUrl(text: string): string {
  if (URL.canParse(text) && ["redis:", "rediss:"].includes(new URL(text).protocol)) return text;
  throw new OptionError(
    "--redis",
    "--redis must be a URL, redis://HOST:PORT, or rediss://HOST:PORT with TLS.",
  );
}

/** @throws {OptionError} for anything but the address of a server. */
function apiUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url && ["http:", "https:"].includes(url.protocol) && url.search === "" && url.username === "")
    return url.href.replace(/\/+$/, "");
  throw new OptionError(
    "--api",
    `--api must be the address of the API, such as https://depth.example.org, not ${JSON.stringify(text)}.`,
  );
}

/** @throws {OptionError} for anything but a name, such as an address. */
function allowedHost(text: string): string {
  const name = text.toLowerCase();
  if (URL.canParse(`http://${name}`) && new URL(`http://${name}`).hostname === name) return name;
  throw new OptionError(
    "--allow-host",
    `--allow-host must be a host name without scheme and port, such as depth.example.org, not ${JSON.stringify(text)}.`,
  );
}

function allowedModel(text: string): AllowedModel {
  const equals = text.indexOf("=");
  if (equals < 0) return { name: text };
  const [name, folder] = [text.slice(0, equals), text.slice(equals + 1)];
  if (name.trim() === "" || folder.trim() === "")
    throw new OptionError(
      "--allow-model",
      `--allow-model must be a repository or NAME=FOLDER, not ${JSON.stringify(text)}.`,
    );
  return { name, folder };
}
