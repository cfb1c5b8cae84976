import assert from "node:assert/strict";
import crypto, { createHash } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { test } from "node:test";
import { Engine } from "mflux-depth/engine";
import { serveWebSocket } from "../../src/worker/websocket.js";
import { Worker } from "../../src/worker/worker.js";
import { refusal } from "../support/host.js";

const token = "a token of this test";

/*
 * The time of a refusal cannot be measured finely enough over a socket. This shows instead that the header only reaches
 * the digest and the comparison in constant time, so that neither its length nor its prefix matters.
 */
test("every token is compared by its digest, in constant time", async (context) => {
  const compare = context.mock.method(crypto, "timingSafeEqual");
  syncBuiltinESMExports();
  const worker = new Worker({ transport: "websocket", engine: new Engine() });
  const endpoint = await serveWebSocket(worker, {
    host: "127.0.0.1",
    port: 0,
    token,
    frameLimit: 1024,
    log: () => {},
  });
  const headers = [
    null,
    "Bearer",
    "Bearer a",
    `Bearer ${token.slice(0, -1)}`,
    `Bearer ${token}s`,
    `Basic ${token}`,
    `Bearer ${"a".repeat(8000)}`,
  ];
  try {
    for (const header of headers) {
      const { status } = await refusal(endpoint.url, header === null ? {} : { authorization: header });
      assert.equal(status, 401, `${header}`);
    }
  } finally {
    await endpoint.close();
    compare.mock.restore();
    syncBuiltinESMExports();
  }
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  assert.deepEqual(
    compare.mock.calls.map(({ arguments: compared }) => compared),
    headers.map((header) => [digest(header ?? ""), digest(`Bearer ${token}`)]),
  );
});
