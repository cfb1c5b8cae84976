/* Slows down guessing of the token. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./error.js";

/** Wrong tokens that one address may send in a minute. */
const maxFailures = 30;

/** Wrong tokens of the last minute, by address. */
export interface Failures {
  /** @throws {HttpError} 429 for an address that has sent too many wrong tokens. */
  check(request: FastifyRequest): Promise<void>;
  count(request: FastifyRequest): Promise<void>;
}

export function watchFailures(app: FastifyInstance): Failures {
  const limit = app.createRateLimit({ max: maxFailures, timeWindow: 60_000, allowList: [] });
  return {
    async check(request) {
      const state = await limit(request, { increment: false });
      if (!state.isAllowed && state.isExceeded)
        throw new HttpError(
          429,
          "rate_limited",
          "Too many wrong tokens came from this address; wait a minute.",
          {
            headers: { "retry-after": `${state.ttlInSeconds}` },
          },
        );
    },
    async count(request) {
      await limit(request);
    },
  };
}
