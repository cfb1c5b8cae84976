/* Serves the studio, a page whose files are built into this package. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import fastifyStatic = require("@fastify/static");

import type { FastifyInstance } from "fastify";
import type { Context } from "./context.js";

/** What the page may load and do: use its own files, and pictures that it creates. */
const pagePolicy = [
  "default-src 'self'",
  "img-src 'self' blob: data:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

const missing = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>mflux-depth</title>
<h1>The studio is not built</h1>
<p>The server works; only its page is missing. In the repository, build it with <code>npm run build -w packages/studio</code>.</p>
<p>The interface is described at <a href="/openapi.json">/openapi.json</a>.</p>
</html>
`;

export async function studioRoutes(app: FastifyInstance, { studioFolder }: Context): Promise<void> {
  if (!existsSync(join(studioFolder, "index.html"))) {
    app.get("/", { config: { openness: "page" } }, async (_request, reply) =>
      reply
        .code(404)
        .type("text/html; charset=utf-8")
        .header("content-security-policy", pagePolicy)
        .send(missing),
    );
    return;
  }
  // The page that asks for the token has to load without one. Other sites may link to the page only, not to its files.
  app.addHook("onRoute", (route) => {
    route.config = { ...route.config, openness: route.url === "/" ? "page" : "public" };
  });
  await app.register(fastifyStatic, {
    root: studioFolder,
    // Registers one route for each file, so that nothing else is reachable.
    wildcard: false,
    globIgnore: ["assets/**"],
    index: "index.html",
    cacheControl: false,
    setHeaders: (response) => setHeaders(response, "no-cache"),
  });
  await app.register(fastifyStatic, {
    root: join(studioFolder, "assets"),
    // An update in place replaces these files, whose names contain a hash, and the page names the new ones at once.
    prefix: "/assets/",
    allowedPath: (path) => /^\/[\w-][\w.-]*$/.test(path),
    index: false,
    decorateReply: false,
    cacheControl: false,
    setHeaders: (response) => setHeaders(response, "public, max-age=31536000, immutable"),
  });
}

function setHeaders(response: { setHeader(name: string, value: string): unknown }, caching: string): void {
  response.setHeader("cache-control", caching);
  response.setHeader("content-security-policy", pagePolicy);
}
