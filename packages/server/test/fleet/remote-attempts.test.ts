import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { FileStore } from "../../src/blobs/file-store.js";
import { RemoteAttempts } from "../../src/fleet/remote-attempts.js";
import { History } from "../../src/history/history.js";
import type { ArtifactRecord } from "../../src/ledger/files.js";
import type { AttemptOutcome } from "../../src/work/attempt-record.js";
import { Checkpoints } from "../../src/work/checkpoints.js";
import { newReserve, temporaryFolder } from "../support/folder.js";
import { newJob, newLedger } from "../support/ledger.js";

/** A job that the worker a-1 has begun, and the desk to which it reports. */
async function begun(t: TestContext) {
  const ledger = newLedger(t);
  const history = new History(ledger);
  t.after(() => history.close());
  const files = new FileStore(temporaryFolder(t), newReserve(t));
  const checkpoints = new Checkpoints(temporaryFolder(t), newReserve(t));
  await Promise.all([files.open(), checkpoints.open()]);
  const tools = { ledger, history, files, checkpoints };
  const remote = new RemoteAttempts(tools);
  const facts = { mime: "image/png", width: 1, height: 1 };
  const photo = await files.add(Buffer.from("a photo"));
  ledger.write(() => ledger.files.addBlob({ ...facts, sha256: photo.sha256, bytes: 7 }, 1));
  const { id } = history.submitted(newJob(), [photo.sha256]);
  const mine = { id, attempt: 1, worker: "a-1" };
  assert.equal((await remote.begin(mine)).start?.job.attempt, 1);
  const names = (): string[] => history.past(id, 0).map(({ event }) => event);
  return { ledger, history, files, remote, tools, id, mine, photo: photo.sha256, names };
}

/** How an attempt succeeds with one image. */
const success = (sha256: string, bytes: number): AttemptOutcome => {
  const facts = { mime: "image/png", width: 1, height: 1, seed: 7, score: null };
  const image: ArtifactRecord = { name: "image-1", sha256, bytes, ...facts };
  return { state: "succeeded", step: 4, artifacts: [image] };
};

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

const step = (number: number) =>
  ({ type: "step", data: { step: number, steps: 4, seconds: 1, remaining_seconds: 1 } }) as const;

describe("the attempts of workers on other machines", () => {
  test("begin once, however often the worker asks", async (t) => {
    const { remote, mine, names } = await begun(t);
    assert.equal((await remote.begin(mine)).start?.job.attempt, 1);
    assert.deepEqual(names(), ["queued", "started"]);
  });

  test("begin for no job that has been cancelled", async (t) => {
    const { remote, history } = await begun(t);
    const { id } = history.submitted(newJob(), []);
    history.cancelledQueued(id);
    assert.deepEqual(await remote.begin({ id, attempt: 1, worker: "a-1" }), { start: null });
  });

  test("take each report once", async (t) => {
    const { remote, mine, names } = await begun(t);
    const warning = (message: string) => ({ type: "warning", message }) as const;
    remote.report(mine, { first: 0, reports: [warning("one"), warning("two")] });
    remote.report(mine, { first: 1, reports: [warning("two"), warning("three")] });
    assert.deepEqual(names(), ["queued", "started", "warning", "warning", "warning"]);
  });

  test("resume once, also when the API has been restarted meanwhile", async (t) => {
    const { remote, mine, tools, names } = await begun(t);
    const reports = { first: 0, reports: [{ type: "resumed", step: 2 }] } as const;
    remote.report(mine, reports);
    new RemoteAttempts(tools).report(mine, reports);
    assert.deepEqual(names(), ["queued", "started", "resumed"]);
  });

  test("give a worker the pictures of the job that it runs, and of no other", async (t) => {
    const { remote, history, mine, photo, files, ledger } = await begun(t);
    assert.equal(Buffer.from(await remote.picture(mine, photo)).toString(), "a photo");
    const other = await files.add(Buffer.from("another photo"));
    const facts = { mime: "image/png", width: 1, height: 1, sha256: other.sha256, bytes: 13 };
    ledger.write(() => ledger.files.addBlob(facts, 1));
    const { id } = history.submitted(newJob(), [other.sha256]);
    await remote.begin({ id, attempt: 1, worker: "b-1" });
    await assert.rejects(remote.picture(mine, other.sha256), { code: "forbidden" });
    const theirs = { id, attempt: 1, worker: "a-1" };
    await assert.rejects(remote.picture(theirs, other.sha256), { code: "forbidden" });
    await assert.rejects(remote.end(theirs, { state: "cancelled" }), { code: "forbidden" });
  });

  test("drop what an attempt says after another has begun, its result too", async (t) => {
    const { remote, history, mine, photo, id, names } = await begun(t);
    history.interrupted(id, 1, "interrupted");
    const next = { id, attempt: 2, worker: "b-1" };
    await remote.begin(next);
    const before = names();
    assert.deepEqual(remote.report(mine, { first: 0, reports: [step(3)] }), { standing: "lost" });
    assert.equal((await remote.end(mine, success(photo, 7))).end, "lost");
    await assert.rejects(remote.picture(mine, photo), { code: "forbidden" });
    assert.deepEqual(names(), before);
    assert.equal(history.find(id).state, "running");
    assert.deepEqual(remote.report(next, { first: 0, reports: [step(1)] }), { standing: "current" });
    assert.equal(history.object(history.find(id)).step, 1);
  });

  test("end once, and give a worker that missed the answer the same one again", async (t) => {
    const { remote, mine, names, history, id } = await begun(t);
    const sha256 = await hashOf("an image");
    await remote.store(mine, sha256, bytesOf("an image"));
    assert.deepEqual(await remote.end(mine, success(sha256, 8)), { end: "ended", missing: [] });
    assert.deepEqual(await remote.end(mine, success(sha256, 8)), { end: "ended", missing: [] });
    assert.deepEqual(await remote.end(mine, { state: "cancelled" }), { end: "lost", missing: [] });
    assert.deepEqual(names(), ["queued", "started", "succeeded"]);
    assert.equal(history.object(history.find(id)).images.length, 1);
  });

  test("ask again for files that are not there, and end nothing before", async (t) => {
    const { remote, mine, history, id } = await begun(t);
    const sha256 = await hashOf("an image");
    assert.deepEqual((await remote.end(mine, success(sha256, 8))).missing, [sha256]);
    assert.equal(history.find(id).state, "running");
    await remote.store(mine, sha256, bytesOf("an image"));
    assert.deepEqual((await remote.end(mine, success(sha256, 8))).missing, []);
    assert.equal(history.find(id).state, "succeeded");
  });

  test("refuse a file whose content does not match its hash", async (t) => {
    const { remote, mine } = await begun(t);
    const sha256 = await hashOf("an image");
    await assert.rejects(remote.store(mine, sha256, bytesOf("another")), { code: "invalid_value" });
  });

  test("are told that their job is to end", async (t) => {
    const { remote, mine, history, id } = await begun(t);
    assert.equal(remote.standing(mine), "current");
    history.cancelRequested(id);
    assert.equal(remote.standing(mine), "cancelled");
    assert.equal((await remote.end(mine, { state: "cancelled" })).end, "ended");
    assert.equal(history.find(id).state, "cancelled");
  });

  test("wait again after an interruption, unless someone has cancelled the job", async (t) => {
    const { remote, mine, history, id } = await begun(t);
    assert.equal((await remote.end(mine, { state: "interrupted" })).end, "unfinished");
    await remote.begin({ ...mine, attempt: 2 });
    history.cancelRequested(id);
    assert.equal((await remote.end({ ...mine, attempt: 2 }, { state: "interrupted" })).end, "ended");
    assert.equal(history.find(id).state, "cancelled");
  });

  test("count as heard of for a while after each request", async (t) => {
    const { remote, mine } = await begun(t);
    assert.equal(remote.heard(mine, 60_000), true);
    assert.equal(remote.heard(mine, 0), false);
    assert.equal(remote.heard({ ...mine, attempt: 2 }, 60_000), false);
  });
});

async function hashOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", Buffer.from(text));
  return Buffer.from(digest).toString("hex");
}
