/*
 * Who may call: hosts, origins and tokens. A page of another site must not reach a server on its visitor's machine,
 * even if no token is set. So every request has to name this server, and the origin that a browser reports must match.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIPv4 } from "node:net";
import type { FastifyRequest } from "fastify";
import { HttpError } from "./error.js";
import type { Failures } from "./failures.js";
import type { Sessions } from "./sessions.js";

/** Which checks a route skips. The default, `api`, checks everything. */
export type Openness =
  | "api"
  /** No token: the studio's files, and the route that receives the token. */
  | "public"
  /** As `public`, and any site may link to it. */
  | "page"
  /** No token and any host: probes. */
  | "probe"
  /** A worker's token, checked by the route, instead of a client's. */
  | "worker";

declare module "fastify" {
  interface FastifyContextConfig {
    openness?: Openness;
  }
}

export interface AccessSettings {
  /** Null if no token is required. */
  readonly token: string | null;
  /** Host names accepted in addition to loopback and the bound address. */
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
  // A proxy in front reports how it was reached. Browsers do not send this header to another origin without a
  // preflight.
  const isProxied =
    allowedHosts.includes(parsed.hostname) && request.headers["x-forwarded-proto"] === "https";
  return isProxied ? new URL(`https://${host}`) : parsed;
}

/**
 * @throws {HttpError} 403 for a host that is not this server's, such as a foreign name that resolves to this machine.
 */
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
    "The Host header does not name this server; its operator can allow more names.",
  );
}

/** @throws {HttpError} 403 for a request made by a page of another origin. */
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

/** Compares in constant time, so that timing reveals nothing about the token. */
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
