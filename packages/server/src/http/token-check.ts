/* Checks the client's token. */
import type { FastifyRequest } from "fastify";
import { type AccessSettings, bearerOf, isToken, tokenRefused } from "./access.js";

/** The name of the session's cookie. It contains the port, because cookies do not distinguish ports. */
export const cookieName = ({ socket }: FastifyRequest): string => `mflux_depth_session_${socket.localPort}`;

/**
 * Requires the token or a session's cookie. Sessions cannot be guessed, so the limit on wrong tokens does not apply to
 * them.
 * @throws {HttpError} 401, 429
 */
export async function checkToken(
  request: FastifyRequest,
  { token, sessions, failures }: AccessSettings,
): Promise<void> {
  if (token === null) return;
  const cookie = request.cookies[cookieName(request)];
  if (cookie !== undefined && sessions.has(cookie)) return;
  const given = bearerOf(request);
  if (given === null) throw tokenRefused(cookie !== undefined);
  await failures.check(request);
  if (isToken(given, token)) return;
  await failures.count(request);
  throw tokenRefused(true);
}
