import type { FastifyReply } from "fastify";

/** A signal that is aborted when the client leaves before its answer is complete. */
export function whileConnected(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.on("close", () => {
    if (!reply.raw.writableFinished) controller.abort(new ClientGone());
  });
  return controller.signal;
}

/** The client has closed the connection: nobody reads the answer. */
export class ClientGone extends Error {
  override readonly name = "AbortError";
  constructor() {
    super("the client has left");
  }
}
