import type { FastifyInstance } from "fastify";
import { isToken, ownOrigin, tokenRefused } from "../access.js";
import { answers, empty, query } from "../components.js";
import type { Context } from "../context.js";
import { sessionSeconds } from "../sessions.js";
import { cookieName } from "../token-check.js";

export function sessionRoutes(app: FastifyInstance, { access }: Context): void {
  app.post<{ Body: { token: string } }>(
    "/v1/session",
    {
      config: { openness: "public" },
      bodyLimit: 10_000,
      schema: {
        tags: ["Server"],
        summary: "Exchange the token for a session cookie",
        operationId: "createSession",
        security: [],
        querystring: query(),
        body: {
          type: "object",
          properties: { token: { type: "string", minLength: 1, maxLength: 4096 } },
          required: ["token"],
          additionalProperties: false,
        },
        response: answers({ 204: empty("The cookie is set") }),
      },
    },
    async (request, reply) => {
      const { token, sessions, allowedHosts, failures } = access;
      if (token === null) return reply.code(204).send();
      await failures.check(request);
      if (!isToken(request.body.token, token)) {
        await failures.count(request);
        throw tokenRefused(true);
      }
      reply.setCookie(cookieName(request), sessions.start(), {
        httpOnly: true,
        sameSite: "strict",
        path: "/",
        maxAge: sessionSeconds,
        secure: ownOrigin(request, allowedHosts)?.protocol === "https:",
      });
      return reply.code(204).send();
    },
  );
}
