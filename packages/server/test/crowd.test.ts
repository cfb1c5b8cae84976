import assert from "node:assert/strict";
import { test } from "node:test";
import { sendCrowd } from "./support/crowd.js";
import { TestServer } from "./support/server.js";

test("300 jobs from 100 clients are all made, in order, in memory that stays flat", async () => {
  const server = await TestServer.start();
  const { early, late } = await sendCrowd(server, { jobs: 300, clients: 100 });
  assert.ok(late - early < 80e6, `${early} bytes after a third of the jobs, ${late} at the end`);
  await server.stop();
});
