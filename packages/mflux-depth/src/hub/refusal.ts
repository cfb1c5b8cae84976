/* Explains the Hub's error responses, with advice for the user. */
import { ModelError } from "../errors.js";
import { Transient } from "./retry.js";
import { type HubSettings, withoutTokens } from "./settings.js";

/** The repository changed after it was listed. */
export class Changed extends Error {}

/** The Hub that a request went to, and for which repository. */
export interface HubSubject {
  readonly settings: HubSettings;
  readonly repository: string;
}

/** The subject of the request. */
export interface Requested {
  /** Whether the Hub itself answered, not a server that it redirected to. */
  readonly byHub: boolean;
  readonly file?: string;
  readonly revision?: string;
}

const tooManyRequests = "too many requests";

/**
 * Turns an error response into the error to throw: {@link Transient} if the next attempt may succeed, {@link Changed}
 * if the file has disappeared, {@link ModelError} otherwise.
 */
export async function refusalOf(
  response: Response,
  { settings, repository }: HubSubject,
  { byHub, file, revision }: Requested,
): Promise<Error> {
  const { status, headers } = response;
  const text = await response.text().catch(() => "");
  if (status === 429) return new Transient(tooManyRequests, { afterMs: requestedWait(headers) });
  // A server behind a redirect refuses expired addresses; asking the Hub again gives a new one.
  if (status === 408 || status >= 500 || !byHub)
    return new Transient(`the server failed (${status})`, {
      afterMs: status === 503 ? requestedWait(headers) : undefined,
    });
  const code = headers.get("x-error-code");
  if (code === "EntryNotFound" && file !== undefined) return new Changed(`${file} has been removed`);
  const answer = headers.get("x-error-message") ?? (/^\s*[{<]/.test(text) ? "" : text.trim());
  const said = withoutTokens(answer, settings.token).slice(0, 200);
  return new ModelError(repository, describeRefusal(settings, repository, { status, code, said, revision }));
}

function describeRefusal(
  { endpoint, token }: HubSettings,
  repository: string,
  {
    status,
    code,
    said,
    revision,
  }: { status: number; code: string | null; said: string; revision: string | undefined },
): string {
  const page = `${endpoint}/${repository}`;
  const giveToken = `create a token at ${endpoint}/settings/tokens and set HF_TOKEN, or log in with \`hf auth login\``;
  const quoted = said ? ` (${said})` : "";
  if (status === 401 && token && code !== "GatedRepo" && code !== "RepoNotFound")
    return `the Hub does not accept the token from ${token.source}; ${giveToken}`;
  if (code === "GatedRepo")
    return token
      ? `access is gated, and the account of the token from ${token.source} has not been granted access: accept the terms at ${page} with that account (a fine-grained token must also be allowed to read gated repositories), then run this again`
      : `access is gated: accept the terms at ${page}, then ${giveToken}`;
  if (code === "RevisionNotFound")
    return `the repository has no revision ${revision ?? "of that name"} on the Hub; use an existing branch, tag or commit`;
  if (status === 404 || status === 401)
    return `there is no such repository at ${endpoint}, or it is private: check the name${token ? "" : `; for a private one, ${giveToken}`}`;
  if (status === 403)
    return `the Hub refuses access${quoted}; see ${page}${token ? ` with the account of the token from ${token.source}` : `, and ${giveToken}`}`;
  return `the Hub answered ${status}${quoted} to a valid request; try again later`;
}

/** The error for a download that keeps failing. */
export function lastFailure(
  error: Transient,
  attempts: number,
  { settings: { endpoint, token }, repository }: HubSubject,
): ModelError {
  const { afterMs, unreachable, silent } = error.options;
  const fail = (reason: string): ModelError => new ModelError(repository, reason, { cause: error });
  if (unreachable)
    return fail(
      `the cache does not have the complete model, and the Hub (${endpoint}) cannot be reached (${error.message}); check the connection and run this again`,
    );
  if (silent)
    return fail(
      `${error.message}, ${attempts} times in a row; check the connection, a proxy and HF_ENDPOINT, and run this again: the download will resume where it stopped`,
    );
  const times = attempts === 1 ? "" : `, ${attempts} times in a row`;
  const when = afterMs === undefined ? "" : ` in ${Math.ceil(afterMs / 1000)} s`;
  const account = error.message === tooManyRequests && !token ? ", or give a token in HF_TOKEN" : "";
  return fail(
    `the download from ${endpoint} failed (${error.message})${times}; run this again${when}${account}: it will resume where it stopped`,
  );
}

/** The wait that a busy server asks for, in milliseconds. */
function requestedWait(headers: Headers): number | undefined {
  const after = headers.get("retry-after");
  if (after !== null) {
    const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now();
    if (Number.isFinite(ms)) return Math.max(ms, 0);
  }
  // The Hub's own header: "api";r=0;t=160 means that no requests are left for 160 seconds.
  const reset = /;\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}
