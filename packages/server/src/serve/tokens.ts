/* Reads the tokens named by a server's settings. */
import { readFile } from "node:fs/promises";
import type { Io } from "mflux-depth/command";
import { OptionError } from "mflux-depth/errors";
import { reasonOf } from "../data-folder/reasons.js";
import type { ServeSettings } from "../flags.js";
import { isLoopback } from "../http/access.js";
import { WorkerTokens } from "../http/worker-tokens.js";

/** The token that clients must send; null if there is none. @throws {OptionError} if it is unusable. */
export const clientToken = ({ tokenFile }: ServeSettings, env: Io["env"]): Promise<string | null> =>
  tokenFrom({ flag: "--token-file", file: tokenFile, variable: "MFLUX_DEPTH_TOKEN" }, env);

/** The token of a worker. @throws {OptionError} if it is missing or unusable. */
export async function workerToken({ workerTokenFile }: ServeSettings, env: Io["env"]): Promise<string> {
  const variable = "MFLUX_DEPTH_WORKER_TOKEN";
  const token = await tokenFrom({ flag: "--worker-token-file", file: workerTokenFile, variable }, env);
  if (token !== null) return token;
  throw new OptionError(
    "--worker-token-file",
    `A worker needs its token, which the API's --worker-token-file lists: set ${variable} or --worker-token-file.`,
    { code: "option-missing" },
  );
}

/**
 * The tokens of all workers, kept up to date with the file.
 * @throws {OptionError} if the file is unusable.
 */
export function workerTokens(
  file: string,
  onProblem: (message: string, error: unknown) => void,
): WorkerTokens {
  try {
    return new WorkerTokens(file, onProblem);
  } catch (error) {
    const reason = reasonOf(error);
    const problem = reason === null ? (error as Error).message : `It cannot be read: ${reason}.`;
    throw new OptionError("--worker-token-file", `The file with the workers' tokens, ${file}: ${problem}`, {
      cause: error,
    });
  }
}

interface TokenSource {
  readonly flag: string;
  readonly file: string | undefined;
  readonly variable: string;
}

async function tokenFrom({ flag, file, variable }: TokenSource, env: Io["env"]): Promise<string | null> {
  const fromEnv = env[variable]?.trim() ?? "";
  if (file === undefined) return fromEnv === "" ? null : checkedToken(fromEnv, variable);
  const token = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new OptionError(flag, `The token file ${file} cannot be read: ${reasonOf(error)}.`, {
      cause: error,
    });
  });
  return checkedToken(token.trim(), flag);
}

/** @throws {OptionError} for a token that cannot be sent in a header. */
function checkedToken(token: string, source: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new OptionError(
    source,
    `The token of ${source} must be one line of visible ASCII characters, without spaces.`,
  );
}

/** @throws {OptionError} if others could reach a server without a token. */
export function requireToken({ host, allowedHosts }: ServeSettings, token: string | null): void {
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
