import type { FastifyReply } from "fastify";

/** A signal that aborts if the client disconnects before its answer is complete. */
export function whileConnected(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const { raw } = reply;
  const check = (): void => {
    if (!raw.writableFinished) controller.abort(new ClientGone());
  };
  // The client may have left while its body was read.
  if (raw.destroyed) check();
  else raw.on("close", check);
  return controller.signal;
}

/** The client has closed the connection, so the answer is not sent. */
export class ClientGone extends Error {
  override readonly name = "AbortError";
  constructor() {
    super("the client has left");
  }
}
