/*
 * Who may call: hosts, origins and tokens. A page of another site must not reach a server on its visitor's machine, not
 * even where no token is set; so every request has to name this server, and what browsers say about its origin must fit.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIPv4 } from "node:net";
import type { FastifyRequest } from "fastify";
import { HttpError } from "./error.js";
import type { Failures } from "./failures.js";
import type { Sessions } from "./sessions.js";

/** What a route is open for. The default is `api`: everything is checked. */
export type Openness =
  | "api"
  /** No token: the studio's files and the route that takes the token. */
  | "public"
  /** The same, and any site may link to it. */
  | "page"
  /** Neither a token nor a known host: probes. */
  | "probe"
  /** A worker's token, which the route checks, in place of a client's. */
  | "worker";

declare module "fastify" {
  interface FastifyContextConfig {
    openness?: Openness;
  }
}

export interface AccessSettings {
  /** Null: nobody needs one. */
  readonly token: string | null;
  /** Names in addition to loopback and the bound address. */
  readonly allowedHosts: readonly string[];
  readonly sessions: Sessions;
  readonly failures: Failures;
}

/** Whether only this machine can reach an address to listen on. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));

/** The scheme, host and port that a request was sent to, as an origin; null if it names none. */
export function ownOrigin(request: FastifyRequest, allowedHosts: readonly string[]): URL | null {
  const host = request.headers.host ?? "";
  if (!/^[\w.:[\]-]+$/.test(host)) return null;
  const parsed = URL.canParse(`http://${host}`) ? new URL(`http://${host}`) : null;
  if (parsed === null) return null;
  // A proxy in front says how it was reached. Browsers send this header to no other origin without asking first.
  const isProxied =
    allowedHosts.includes(parsed.hostname) && request.headers["x-forwarded-proto"] === "https";
  return isProxied ? new URL(`https://${host}`) : parsed;
}

/** @throws {HttpError} 403 for a host that is not this server's: a name that someone else points here. */
export function checkHost(request: FastifyRequest, { allowedHosts }: AccessSettings): void {
  const hostname = ownOrigin(request, allowedHosts)?.hostname.replace(/^\[|\]$/g, "");
  const bound = request.socket.localAddress?.replace(/^::ffff:/, "");
  if (
    hostname !== undefined &&
    (isLoopback(hostname) || hostname === bound || allowedHosts.includes(hostname))
  )
    return;
  throw new HttpError(
    403,
    "forbidden_host",
    "The Host header does not name this server; its operator can allow more names with --allow-host.",
  );
}

/** @throws {HttpError} 403 for a request that a page of another origin made. */
export function checkOrigin(request: FastifyRequest, openness: Openness, settings: AccessSettings): void {
  const { origin, "sec-fetch-site": site } = request.headers;
  const followsLink =
    openness === "page" && request.method === "GET" && request.headers["sec-fetch-mode"] === "navigate";
  if (site !== undefined && site !== "same-origin" && site !== "none" && !followsLink)
    throw new HttpError(403, "forbidden_origin", "Pages of other sites may not call this server.");
  if (origin === undefined) return;
  if (origin !== ownOrigin(request, settings.allowedHosts)?.origin)
    throw new HttpError(
      403,
      "forbidden_origin",
      "The Origin header does not match the address that this request was sent to.",
    );
}

/** Compares in a time that tells nothing about the token. */
export function isToken(given: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

/** The token in the Authorization header, if there is one. */
export function bearerOf(request: FastifyRequest): string | null {
  const header = request.headers.authorization;
  return header === undefined ? null : (/^Bearer +([^\s]+) *$/i.exec(header)?.[1] ?? "");
}

export const tokenRefused = (given: boolean): HttpError =>
  new HttpError(
    401,
    given ? "invalid_token" : "missing_token",
    given ? "The token is wrong." : "This server needs a token: Authorization: Bearer TOKEN.",
    { headers: { "www-authenticate": "Bearer" } },
  );
