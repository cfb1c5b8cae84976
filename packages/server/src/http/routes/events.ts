import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { terminalEvents } from "../../contract/index.js";
import { answers, empty, file, idParams, query } from "../components.js";
import type { Context } from "../context.js";
import { invalidValue } from "../error.js";
import type { EventStream, StreamedEvent } from "../event-stream.js";

const tags = ["Events"];

const afterQuery = query({
  after: {
    type: "string",
    maxLength: 20,
    description: "Continue after this event; `Last-Event-ID` takes precedence.",
  },
});
const headers = {
  type: "object",
  properties: { "last-event-id": { type: "string", description: "Continue after this event." } },
};

interface AfterQuery {
  after?: string;
}

export function eventRoutes(app: FastifyInstance, { service, streams, stopping }: Context): void {
  /** Starts a stream that ends with its reader or with the server. */
  function open(reply: FastifyReply, onEnd: () => void): EventStream {
    const stream = streams.open(reply, { isReplaceable });
    const stop = (): void => stream.end();
    stopping.addEventListener("abort", stop, { once: true });
    reply.raw.on("close", () => {
      stopping.removeEventListener("abort", stop);
      onEnd();
    });
    return stream;
  }

  app.get<{ Params: { id: string }; Querystring: AfterQuery }>(
    "/v1/jobs/:id/events",
    {
      exposeHeadRoute: false,
      schema: {
        tags,
        summary: "Follow a job",
        operationId: "getJobEvents",
        params: idParams,
        querystring: afterQuery,
        headers,
        response: answers({
          200: file("Server-sent events; the last one says how the job ended", "text/event-stream"),
          204: empty("The job has finished, and no events remain"),
        }),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const after = lastEventId(request, request.query.after) ?? 0;
      const { past, finished } = service.events(id, after);
      if (finished && past.length === 0) return reply.code(204).send();
      let unsubscribe = (): void => {};
      const stream = open(reply, () => unsubscribe());
      const send = (event: StreamedEvent): void => {
        stream.send(event);
        if ((terminalEvents as readonly string[]).includes(event.event)) stream.end();
      };
      // In the same turn of the event loop as `events`, so that nothing is missed or repeated.
      if (!finished) unsubscribe = service.subscribe(id, send);
      for (const event of past) send(event);
      return reply;
    },
  );

  app.get<{ Querystring: AfterQuery }>(
    "/v1/events",
    {
      exposeHeadRoute: false,
      schema: {
        tags,
        summary: "Follow all jobs and the queue",
        operationId: "getEvents",
        querystring: afterQuery,
        headers,
        response: answers({ 200: file("Server-sent events, with ids of their own", "text/event-stream") }),
      },
    },
    async (request, reply) => {
      let after = lastEventId(request, request.query.after);
      let unsubscribe = (): void => {};
      const stream = open(reply, () => unsubscribe());
      while (after !== null && !stream.ended) {
        const { past, complete } = service.eventsOfAll(after);
        for (const event of past) stream.send(event);
        after = complete ? null : past.at(-1)!.id;
        // History may be long: wait until the reader has taken each part before reading the next.
        if (!complete) await stream.drained();
      }
      // In the same turn of the event loop as the last part, so that nothing is missed or repeated.
      if (!stream.ended) unsubscribe = service.subscribe(null, (event) => stream.send(event));
      return reply;
    },
  );
}

/** Steps and previews: a reader that is behind only needs the latest. */
const isReplaceable = ({ event }: StreamedEvent): boolean => event === "step" || event === "preview";

/** The event to continue after; null if the client names none. @throws {HttpError} 400 if it is not an id. */
function lastEventId(request: FastifyRequest, after: string | undefined): number | null {
  const header = request.headers["last-event-id"];
  const text = typeof header === "string" && header !== "" ? header : after;
  if (text === undefined) return null;
  const id = Number(text);
  if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(id))
    throw invalidValue(text === after ? "after" : "Last-Event-ID", "The id of an event is a whole number.");
  return id;
}
