import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Data, SocketHost, startWorker } from "../support/host.js";

const [repositories, files] = [300, 30];
const cache = mkdtempSync(join(tmpdir(), "hf-"));
const commit = "c".repeat(40);
for (let i = 0; i < repositories; i++) {
  const root = join(cache, `models--me--r${i}`);
  const snapshot = join(root, "snapshots", commit);
  for (const folder of [join(root, "refs"), snapshot]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(root, "refs", "main"), commit);
  for (let n = 0; n < files; n++) writeFileSync(join(snapshot, `${n}.bin`), "bytes");
}

const worker = await startWorker({
  HF_HUB_CACHE: cache,
  NODE_OPTIONS: `--import ${new URL("../support/reads.js", import.meta.url)}`,
});
let log = "";
worker.child.stderr!.on("data", (chunk: Buffer) => {
  log += chunk.toString();
});
const [host, other] = [await SocketHost.connect(worker.url), await SocketHost.connect(worker.url)];
after(async () => {
  host.drop();
  other.drop();
  await worker.stop();
  rmSync(cache, { recursive: true });
});

/** Asks for the worker's status until a request has been answered. @returns the answer and the number of times. */
async function whileAsking(type: string, data: Data = {}): Promise<{ answer: Data; asked: number }> {
  let answered = false;
  const answer = other.ask(type, data).finally(() => {
    answered = true;
  });
  let asked = 0;
  for (; !answered; asked++) await host.ask("worker.status");
  return { answer: await answer, asked };
}

// The worker's own process never waits for the disk, however slow it is.
test("the worker answers while it searches a cache of 9000 files", async () => {
  const { answer, asked } = await whileAsking("models.list_cached");
  assert.equal((answer.models as Data[]).length, repositories);
  assert.ok(asked >= 10, `${asked} answers meanwhile`);
  const deleted = await whileAsking("models.delete", { repo_id: "me/r7" });
  assert.equal(deleted.answer.deleted, true);
  for (const type of ["discover", "provider.list"]) await whileAsking(type);
  assert.equal(log, "");
});
