/*
 * Ends requests whose body stops arriving. Node limits the time for headers and for a whole request; an upload may take
 * minutes, but must not stall.
 */
import type { FastifyInstance } from "fastify";
import { HttpError } from "./error.js";
import { writeAnswer } from "./error-answers.js";

export function endSlowBodies(app: FastifyInstance, idleMs: number): void {
  app.addHook("preParsing", async (request, reply) => {
    const { raw } = request;
    const { socket } = raw;
    if (raw.complete) return;
    const give = (): void => {
      if (!reply.raw.headersSent)
        writeAnswer(socket, new HttpError(408, "timeout", "The body stopped arriving."));
      socket.destroySoon();
    };
    // Set on the request: on timeout, Node would destroy the socket before the answer is written.
    raw.setTimeout(idleMs, give);
    const stop = (): void => {
      raw.off("timeout", give);
      socket.setTimeout(0);
    };
    raw.once("end", stop).once("close", stop);
  });
}
