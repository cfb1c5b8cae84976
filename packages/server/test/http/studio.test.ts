import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { after, describe, test } from "node:test";
import { buildApp } from "../../src/app.js";
import { logTo } from "../../src/http/logging.js";
import { Metrics } from "../../src/http/metrics.js";
import { Sessions } from "../../src/http/sessions.js";
import { JobService } from "../../src/jobs/service.js";
import { raw } from "../support/raw.js";
import { temporaryFolder } from "../support/server.js";

const service = await JobService.open({ folder: temporaryFolder(), load: { model: "tiny-world" } });
after(() => service.close());

const studioFolder = join(temporaryFolder(), "studio");
mkdirSync(join(studioFolder, "assets"), { recursive: true });
writeFileSync(join(studioFolder, "index.html"), "<!doctype html><title>Studio</title>");
writeFileSync(join(studioFolder, "assets", "main-3f2a.js"), "export {};");
writeFileSync(join(studioFolder, "..", "secret.txt"), "secret");

/** The application with a token and a studio. */
const app = await buildApp({
  workerTokens: null,
  service,
  log: logTo(new PassThrough().resume()),
  metrics: new Metrics(),
  access: { token: "token", allowedHosts: [], sessions: new Sessions(new Uint8Array(32), "token") },
  maxQueue: 10,
  studioFolder,
  stopping: new AbortController().signal,
});
await app.listen({ host: "127.0.0.1", port: 0 });
after(() => app.close());
const { port } = app.server.address() as AddressInfo;
const get = (path: string, headers: Record<string, string> = {}) => raw({ port }, { path, headers });

describe("the studio", () => {
  test("is at the root, without a token, and asked for again each time", async () => {
    const { status, headers, body } = await get("/");
    assert.equal(status, 200);
    assert.match(body, /Studio/);
    assert.equal(headers["cache-control"], "no-cache");
    assert.match(String(headers["content-type"]), /^text\/html/);
    assert.match(
      String(headers["content-security-policy"]),
      /^default-src 'self'; img-src 'self' blob: data:/,
    );
  });

  test("has files that may be kept for ever", async () => {
    const { status, headers } = await get("/assets/main-3f2a.js");
    assert.equal(status, 200);
    assert.equal(headers["cache-control"], "public, max-age=31536000, immutable");
    assert.match(String(headers["content-type"]), /javascript/);
    assert.equal(headers["x-content-type-options"], "nosniff");
  });

  test("answers 304 to a client that has the page already", async () => {
    const { headers } = await get("/");
    assert.equal((await get("/", { "if-none-match": String(headers.etag) })).status, 304);
  });

  test("may be linked to, and its files may not", async () => {
    const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
    assert.equal((await get("/", link)).status, 200);
    assert.equal((await get("/assets/main-3f2a.js", link)).status, 403);
  });

  test("has the files of an update that replaced it meanwhile", async () => {
    writeFileSync(join(studioFolder, "assets", "main-77c1.js"), "export {};");
    assert.equal((await get("/assets/main-77c1.js")).status, 200);
    assert.equal((await get("/assets/")).status, 404);
  });

  for (const path of [
    "/../secret.txt",
    "/assets/../../secret.txt",
    "/assets/%2e%2e/%2e%2e/secret.txt",
    "/%2e%2e/secret.txt",
    "/assets/none.js",
  ])
    test(`does not serve ${path}`, async () => {
      const { status, body } = await get(path);
      assert.ok(status === 401 || status === 404, `${status}`);
      assert.doesNotMatch(body, /^secret/);
    });
});
