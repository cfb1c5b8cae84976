/*
 * Asks for the token.
 */
import type { FastifyRequest } from "fastify";
import { type AccessSettings, bearerOf, isToken, tokenRefused } from "./access.js";

/** The session's cookie; cookies do not know ports, so its name does. */
export const cookieName = ({ socket }: FastifyRequest): string => `mflux_depth_session_${socket.localPort}`;

/**
 * Requires the token, or the cookie of a session. Sessions cannot be guessed, so they pass whatever others do.
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
