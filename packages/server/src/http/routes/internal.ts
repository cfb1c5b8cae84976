/* The routes for workers on other machines. They are not part of the public interface: see `fleet/protocol.ts`. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { bodyOfCheckpoint, checkpointOfBody } from "../../fleet/checkpoint-body.js";
import {
  artifactBytes,
  type CandidateBody,
  checkpointBytes,
  type EndBody,
  type Heartbeat,
  type Reports,
} from "../../fleet/protocol.js";
import type { RemoteAttempts } from "../../jobs/service.js";
import type { Context } from "../context.js";
import { HttpError } from "../error.js";
import { acceptAnyBody, pictureBody } from "../raw-body.js";
import { workerOf } from "../worker-check.js";
import type { WorkerTokens } from "../worker-tokens.js";
import { bodies, hashParams } from "./internal-schemas.js";

type Ref = Parameters<RemoteAttempts["standing"]>[0];

interface AttemptParams {
  Params: { id: string; attempt: number; sha256: string };
}

/** The worker of each request, once its token has been checked. */
const workers = new WeakMap<FastifyRequest, string>();

export function internalRoutes(
  app: FastifyInstance,
  { service, access }: Context,
  tokens: WorkerTokens,
): void {
  const { remote } = service;
  const config = { openness: "worker", rateLimit: false } as const;
  const options = { config, schema: { hide: true } } as const;
  const withParams = { config, schema: { hide: true, params: hashParams } } as const;
  const withBody = (body: object): object => ({ config, schema: { hide: true, params: hashParams, body } });

  app.addHook("onRequest", async (request) => {
    workers.set(request, await workerOf(request, { tokens, failures: access.failures }));
  });

  const refOf = (request: FastifyRequest): Ref => {
    const { id, attempt } = request.params as AttemptParams["Params"];
    return { id, attempt, worker: workers.get(request)! };
  };

  app.post<{ Body: Heartbeat }>(
    "/internal/heartbeat",
    { ...options, schema: { hide: true, body: bodies.heartbeat } },
    async (request) => {
      const worker = workers.get(request)!;
      const { attempt } = request.body;
      const standing = attempt && remote.standing({ id: attempt.job, attempt: attempt.attempt, worker });
      return service.workers.hear(worker, request.body, standing);
    },
  );

  const attempt = "/internal/jobs/:id/attempts/:attempt";
  app.post(attempt, withBody(bodies.none), async (request) => remote.begin(refOf(request)));
  app.get(attempt, withParams, async (request) => ({ standing: remote.standing(refOf(request)) }));

  app.post<{ Body: Reports }>(`${attempt}/reports`, withBody(bodies.reports), async (request) =>
    remote.report(refOf(request), request.body),
  );

  app.post<{ Body: CandidateBody }>(`${attempt}/candidates`, withBody(bodies.candidate), async (request) =>
    remote.candidateMade(refOf(request), request.body),
  );

  app.post<{ Body: EndBody }>(`${attempt}/end`, withBody(bodies.end), async (request) =>
    remote.end(refOf(request), request.body.outcome),
  );

  app.get<AttemptParams>(`${attempt}/pictures/:sha256`, withParams, async (request, reply) =>
    reply.type("application/octet-stream").send(await remote.picture(refOf(request), request.params.sha256)),
  );

  app.get(`${attempt}/checkpoint`, withParams, async (request, reply) => {
    const checkpoint = await remote.latestCheckpoint(refOf(request));
    if (!checkpoint) return reply.code(204).send();
    return reply.type("application/octet-stream").send(bodyOfCheckpoint(checkpoint));
  });

  app.register(async (scope) => {
    acceptAnyBody(scope);
    scope.put(`${attempt}/checkpoint`, { ...withParams, bodyLimit: checkpointBytes }, async (request) => {
      const body = await wholeBody(request, checkpointBytes);
      return remote.saveCheckpoint(refOf(request), checkpointIn(body));
    });

    scope.put<AttemptParams>(
      `${attempt}/files/:sha256`,
      { ...withParams, bodyLimit: artifactBytes },
      async (request) => remote.store(refOf(request), request.params.sha256, pictureBody(request)),
    );
  });
}

/** @throws {HttpError} 413 beyond the limit. */
async function wholeBody(request: FastifyRequest, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of pictureBody(request) as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength;
    if (bytes > limit) throw new HttpError(413, "too_large", "The checkpoint is too large.");
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** @throws {HttpError} 400 for a damaged one. */
function checkpointIn(body: Uint8Array): ReturnType<typeof checkpointOfBody> {
  try {
    return checkpointOfBody(body);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new HttpError(400, "invalid_value", error.message, { cause: error });
  }
}
