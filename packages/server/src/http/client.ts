import type { FastifyReply } from "fastify";

/** A signal that is aborted when the client leaves before its answer is complete. */
export function whileConnected(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const { raw } = reply;
  const check = (): void => {
    if (!raw.writableFinished) controller.abort(new ClientGone());
  };
  // It may have left while its body was read.
  if (raw.destroyed) check();
  else raw.on("close", check);
  return controller.signal;
}

/** The client has closed the connection: nobody reads the answer. */
export class ClientGone extends Error {
  override readonly name = "AbortError";
  constructor() {
    super("the client has left");
  }
}
