/*
 * Ends requests whose body stops arriving. Node limits the time of headers and of a whole request; an upload may take
 * minutes, but not rest.
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
    // On the request, not the socket, which Node would destroy before an answer is written.
    raw.setTimeout(idleMs, give);
    const stop = (): void => {
      raw.off("timeout", give);
      socket.setTimeout(0);
    };
    raw.once("end", stop).once("close", stop);
  });
}
