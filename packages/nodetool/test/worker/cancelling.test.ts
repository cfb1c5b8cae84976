import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import sharp from "sharp";
import { seconds, startConnected, withMap, works } from "../support/connected.js";
import { engineOf, examples, execution, steps } from "../support/host.js";

const { worker, host, connect } = await startConnected();

describe("a cancel frame", () => {
  test("ends a waiting run and a run at its first step", async () => {
    const running = host.request("execute", withMap({ steps: 50 }));
    const waiting = host.request("execute", withMap());
    await running.until(({ progress }) => progress === 1);
    const step = await seconds(running.until(({ progress }) => progress === 2));
    for (const run of [waiting, running]) {
      host.send("cancel", {}, run.id);
      const took = await seconds(run.answer);
      assert.ok(took < Math.max(1, 10 * step), `${took} s, when there were 48 steps of ${step} s to go`);
      await assert.rejects(run.answer, { message: "cancelled" });
      assert.equal(host.terminal(run.id).length, 1);
    }
  });

  test("ends a run at its last step", async () => {
    const last = host.request("execute", withMap());
    await last.until(({ progress }) => progress === 2);
    host.send("cancel", {}, last.id);
    await assert.rejects(last.answer, { message: "cancelled" });
    assert.equal(host.terminal(last.id).length, 1);
  });

  test("for an unknown request is ignored", async () => {
    host.send("cancel", {}, "no such request");
    await works(host);
  });

  let image: Buffer;
  let whole: number;
  before(async () => {
    const photo = new URL("chelsea.jpg", examples).pathname;
    image = await sharp(photo).resize(200, 150).jpeg().toBuffer();
    whole = await seconds(host.ask("execute", execution({ steps: 1 }, { blobs: { image } })));
  });

  const components = ["text_encoder", "text_encoder_2", "depth_pro", "vae", "transformer"];
  for (const component of components)
    test(`ends a run while ${component} is loaded, or just after`, async () => {
      await host.ask("models.evict");
      const run = host.request("execute", execution({ steps: 50 }, { blobs: { image } }));
      await run.until(({ message }) => message === `Loading ${component}`);
      host.send("cancel", {}, run.id);
      const took = await seconds(run.answer);
      await assert.rejects(run.answer, { message: "cancelled" });
      assert.ok(took < Math.max(2, whole), `${took} s, where all stages take ${whole} s`);
      // A busy machine gets further before it receives the cancel, but not through 50 steps.
      assert.ok(steps(run.progress).length < 10);
      assert.equal(host.terminal(run.id).length, 1);
    });
});

describe("the end of a job", () => {
  test("cancels its runs and names their nodes", async () => {
    assert.deepEqual(await host.ask("job.start", { job_id: "j1" }), { job_id: "j1", started: true });
    const run = host.request("execute", withMap({ steps: 50 }, { job_id: "j1", node_id: "n1" }));
    const other = host.request("execute", withMap({ steps: 50 }, { job_id: "j2", node_id: "n2" }));
    await run.until(({ progress }) => progress === 1);
    const ended = await host.ask("job.end", { job_id: "j1", reason: "cancelled" });
    assert.deepEqual(ended, { job_id: "j1", released_nodes: ["n1"], known: true });
    await assert.rejects(run.answer, { message: "cancelled" });
    // The other job's run continues.
    await other.until(({ progress }) => progress === 1);
    host.send("cancel", {}, other.id);
  });

  test("is answered for an unknown job", async () => {
    const ended = await host.ask("job.end", { job_id: "j3", reason: "whatever" });
    assert.deepEqual(ended, { job_id: "j3", released_nodes: [], known: false });
  });
});

test("a dropped connection ends its own runs only", async () => {
  const gone = await connect();
  const large = withMap({ steps: 50, width: 512, height: 512 });
  const lost = gone.request("execute", large);
  const waiting = gone.request("execute", large);
  await lost.until(({ progress }) => progress === 1);
  const step = await seconds(lost.until(({ progress }) => progress === 2));
  const mine = works(host);
  gone.drop();
  const took = await seconds(mine);
  await mine;
  assert.ok(took < Math.max(10, 30 * step), `${took} s, when the others had 98 steps of ${step} s to go`);
  assert.deepEqual([gone.terminal(lost.id), gone.terminal(waiting.id)], [[], []]);
});

test("a killed engine fails its run, and the next run works", async () => {
  const run = host.request("execute", withMap({ steps: 50 }));
  await run.until(({ progress }) => progress === 1);
  process.kill(engineOf(worker.child.pid!)!, "SIGKILL");
  await assert.rejects(run.answer, /The engine process was killed .*SIGKILL.*next job/);
  await works(host);
});
