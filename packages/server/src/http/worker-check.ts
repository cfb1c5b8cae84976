/* Checks the token and the protocol version of workers on other machines. */
import type { FastifyRequest } from "fastify";
import { processHeader, protocolHeader, protocolVersion } from "../fleet/protocol.js";
import { bearerOf, tokenRefused } from "./access.js";
import { HttpError } from "./error.js";
import type { Failures } from "./failures.js";
import type { WorkerTokens } from "./worker-tokens.js";

/**
 * The id of the worker that sends a request: the name of its token, and the process.
 * @throws {HttpError} 401, 426, 429, or 400 without a process.
 */
export async function workerOf(
  request: FastifyRequest,
  { tokens, failures }: { readonly tokens: WorkerTokens; readonly failures: Failures },
): Promise<string> {
  const given = bearerOf(request);
  const name = given === null ? null : tokens.nameOf(given);
  if (name === null) {
    await failures.check(request);
    if (given !== null) await failures.count(request);
    throw tokenRefused(given !== null);
  }
  const { [protocolHeader]: version, [processHeader]: process } = request.headers;
  if (version !== `${protocolVersion}`)
    throw new HttpError(
      426,
      "protocol_mismatch",
      `The API speaks version ${protocolVersion} of the protocol with its workers, this worker version ${version}; install the same release of mflux-depth on both.`,
    );
  if (typeof process !== "string" || !/^[0-9a-f]{4,32}$/.test(process))
    throw new HttpError(400, "invalid_value", "The request does not name a process.");
  return `${name}-${process}`;
}
