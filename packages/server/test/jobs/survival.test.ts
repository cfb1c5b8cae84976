import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { JobService, type StreamEvent } from "../../src/jobs/service.js";
import { Checkpoints } from "../../src/work/checkpoints.js";
import { newReserve, temporaryFolder } from "../support/folder.js";
import { hashOfPixels } from "../support/png.js";
import { eventOf, killEngine, openService, story, submitted } from "../support/service.js";
import { ServiceProcess } from "../support/service-process.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

const { request: long } = longJob;

/** The environment of an engine that a test kills, or cancels, in the middle of a job. */
const env = { ...process.env, ...slowSteps };

const isStep = ({ event, data }: StreamEvent, atLeast: number): boolean =>
  event === "step" && data.step >= atLeast;

const isStage = ({ event, data }: StreamEvent, stage: string, state: string): boolean =>
  event === "stage" && data.stage === stage && data.state === state;

/** Whether a checkpoint of some job is on the disk. */
const hasCheckpoint = (folder: string): boolean =>
  readdirSync(join(folder, "checkpoints")).some((name) => name.endsWith(".latents"));

async function untilCheckpoint(folder: string): Promise<void> {
  while (!hasCheckpoint(folder)) await sleep(20);
}

let pixels: string;
before(async () => {
  // The result of an uninterrupted run.
  const folder = temporaryFolder({ name: "uninterrupted" });
  const service = await JobService.open({ folder, load: { model: "tiny-world" } });
  const { id } = await service.finished(await submitted(service, long));
  pixels = hashOfPixels((await service.results.image(id)).bytes);
  await service.close();
});

const assertSamePixels = async (service: JobService, id: string): Promise<void> =>
  assert.equal(hashOfPixels((await service.results.image(id)).bytes), pixels);

// They wait for much of their time.
describe("a job", { concurrency: 2 }, () => {
  test("whose server is killed while it waits runs after the restart", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    await server.submit(long);
    const waiting = await server.submit({});
    await server.kill();
    const service = await openService(t, { folder });
    assert.equal((await service.finished(waiting)).state, "succeeded");
  });

  for (const [stage, isReached] of [
    ["has just started", ({ event }: StreamEvent) => event === "started"],
    ["encodes the prompt", (event: StreamEvent) => isStage(event, "text", "started")],
    ["has made its first step", (event: StreamEvent) => isStep(event, 1)],
    ["decodes the image", (event: StreamEvent) => isStage(event, "decode", "started")],
  ] as const)
    test(`whose server is killed when it ${stage} has the same pixels in the end`, async (t) => {
      const folder = temporaryFolder(t);
      const server = await ServiceProcess.open(t, folder, { slow: true });
      const id = await server.submit(long);
      await server.event(isReached);
      await server.kill();
      const service = await openService(t, { folder });
      const job = await service.finished(id);
      assert.deepEqual([job.state, job.attempt], ["succeeded", 2]);
      await assertSamePixels(service, id);
    });

  test("whose server is killed after a checkpoint continues from it, with the same pixels", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    const id = await server.submit(long);
    await untilCheckpoint(folder);
    await server.kill();
    const service = await openService(t, { folder });
    const resumed = await eventOf(service, id, ({ event }) => event === "resumed");
    assert.ok((resumed.data as { from_step: number }).from_step >= 2);
    await service.finished(id);
    await assertSamePixels(service, id);
    assert.deepEqual(story(service, id), ["queued", "started", "queued", "started", "resumed", "succeeded"]);
    while (hasCheckpoint(folder)) await sleep(20);
  });

  test("whose checkpoint comes from another kind of machine starts over", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    const id = await server.submit(long);
    await untilCheckpoint(folder);
    await server.kill();
    const checkpoints = new Checkpoints(join(folder, "checkpoints"), newReserve(t));
    const checkpoint = await checkpoints.latest(id);
    await checkpoints.save(id, 1, { ...checkpoint!, fingerprint: "another machine" });
    const service = await openService(t, { folder });
    const shown = new Promise<number>((resolve) => {
      service.subscribe(id, ({ event }) => event === "stage" && resolve(service.get(id).step));
    });
    assert.equal(await shown, 0);
    await service.finished(id);
    assert.deepEqual(story(service, id), ["queued", "started", "queued", "started", "succeeded"]);
    await assertSamePixels(service, id);
  });

  test("whose server stops is left at its checkpoint, soon, and without counting as a crash", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    const id = await server.submit(long);
    await untilCheckpoint(folder);
    assert.ok((await server.close()) < 5000);
    const service = await openService(t, { folder });
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.attempt], ["succeeded", 2]);
    assert.ok(story(service, id).includes("resumed"));
    await assertSamePixels(service, id);
  });

  test("that was to be cancelled when its server was killed is cancelled after the restart", async (t) => {
    const folder = temporaryFolder(t);
    const first = await openService(t, { folder, env });
    const id = await submitted(first, long);
    await eventOf(first, id, ({ event }) => event === "step");
    // Nothing ends between these two: the job is running and asked to end.
    const cancelled = first.cancel(id);
    const closed = first.close();
    await Promise.all([cancelled, closed]);
    const second = await openService(t, { folder });
    assert.equal((await second.finished(id)).state, "cancelled");
  });

  test("has event ids that grow across restarts", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    const id = await server.submit(long);
    const last = await server.event((event) => isStep(event, 3));
    await server.kill();
    const service = await openService(t, { folder });
    await service.finished(id);
    const later = service.events(id, last.id).past;
    assert.deepEqual(
      later.map(({ event }) => event).filter((event) => event !== "resumed"),
      ["queued", "started", "succeeded"],
    );
  });
});

// One after another: each kills the engine of this process.
describe("a job in this process", () => {
  test("whose engine is killed continues at once, with the same pixels", async (t) => {
    const folder = temporaryFolder(t);
    const service = await openService(t, { folder, env });
    const id = await submitted(service, long);
    await untilCheckpoint(folder);
    await killEngine();
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.attempt], ["succeeded", 2]);
    assert.ok(story(service, id).includes("resumed"));
    await assertSamePixels(service, id);
  });

  test("whose engine is killed three times without a checkpoint fails, and the next one runs", async (t) => {
    const service = await openService(t, { env });
    const id = await submitted(service, long);
    for (let attempt = 1; attempt <= 3; attempt++) {
      await eventOf(service, id, ({ event, data }) => event === "stage" && data.attempt === attempt);
      await killEngine();
    }
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.attempt, job.error?.code], ["failed", 3, "engine_crashed"]);
    assert.equal((await service.finished(await submitted(service))).state, "succeeded");
  });
});

describe("a data folder", () => {
  test("that was copied while its server was stopped at random moments opens cleanly", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder);
    const submitted: string[] = [];
    for (let copy = 0; copy < 5; copy++) {
      submitted.push(await server.submit({ steps: 2 }));
      await sleep(Math.random() * 200);
      server.pause();
      const torn = join(temporaryFolder(t), "copy");
      cpSync(folder, torn, { recursive: true });
      server.unpause();
      const service = await JobService.open({ folder: torn, load: { model: "tiny-world" } });
      const jobs = await Promise.all(submitted.map((id) => service.finished(id)));
      assert.deepEqual(
        jobs.map(({ state }) => state),
        submitted.map(() => "succeeded"),
      );
      for (const { id } of jobs) await service.results.image(id);
      await service.close();
    }
  });

  test("is refused while another process uses it", async (t) => {
    const folder = temporaryFolder(t);
    await ServiceProcess.open(t, folder);
    await assert.rejects(JobService.open({ folder }), { code: "unavailable" });
    assert.equal(existsSync(join(folder, "ledger.db")), true);
  });
});
