import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { JobEvent } from "../../src/contract/index.js";
import type { JobService, StreamEvent } from "../../src/jobs/service.js";
import { temporaryFolder } from "../support/folder.js";
import { photo } from "../support/pictures.js";
import { hashOfPixels } from "../support/png.js";
import { Scope } from "../support/scope.js";
import { eventOf, generation, openService, story, submitted } from "../support/service.js";
import { slowSteps } from "../support/slow-steps.js";

describe("a job service and its engine", () => {
  const scope = new Scope("a job service");
  const folder = temporaryFolder(scope);
  let service: JobService;
  before(async () => {
    service = await openService(scope, { folder });
  });
  after(() => scope.end());

  test("generates an image and keeps it with its depth map", async () => {
    const id = await submitted(service);
    const job = await service.finished(id);
    assert.equal(job.state, "succeeded");
    assert.deepEqual([job.step, job.steps, job.seed, job.attempt, job.worker], [2, 2, 7, 1, "local"]);
    const { bytes, sha256 } = await service.results.image(id);
    assert.deepEqual([bytes.length, sha256], [job.image!.bytes, job.image!.sha256]);
    assert.equal(job.images[0]!.url, `/v1/jobs/${id}/images/1`);
    const map = await service.results.depthMap(id);
    assert.deepEqual([map.width, map.height, map.data.length], [32, 32, 32 * 32]);
    assert.equal(job.depth!.mime, "image/png");
  });

  test("tells the story of a job in events whose ids grow", async () => {
    await service.queue.pause();
    const id = await submitted(service, { width: 70 });
    const live: JobEvent[] = [];
    service.subscribe(id, (event) => live.push(event));
    await service.queue.resume();
    await service.finished(id);
    const names = live.map(({ event }) => event);
    assert.equal(names[0], "started");
    assert.equal(names.at(-1), "succeeded");
    assert.deepEqual(
      live.filter(({ event }) => event === "step").map(({ data }) => (data as { step: number }).step),
      [1, 2],
    );
    const ids = live.map((event) => event.id);
    assert.deepEqual(
      [...new Set(ids)].sort((a, b) => a - b),
      ids,
    );
    const { past, finished } = service.events(id, 0);
    assert.equal(finished, true);
    assert.deepEqual(
      past.map(({ event }) => event),
      ["queued", "warning", "started", "succeeded"],
    );
    assert.deepEqual(service.events(id, past.at(-1)!.id).past, []);
  });

  test("shows how an image comes about, at the steps asked for, and forgets that at the end", async () => {
    const body = await generation(service, { steps: 4, width: 256, height: 256 });
    const { job } = await service.submit({ ...body, preview_every: 2 });
    const seen: string[] = [];
    service.subscribe(job.id, ({ event, data }) => {
      if (event !== "preview") return;
      const { mime, width, bytes } = service.results.preview(job.id, data.step);
      assert.ok(width >= 16 && bytes.length > 100);
      seen.push(`${data.url} ${mime}`);
    });
    await service.finished(job.id);
    assert.equal(seen[0], `/v1/jobs/${job.id}/previews/2 image/jpeg`);
    assert.throws(() => service.results.preview(job.id, 2), { code: "not_found" });
  });

  test("keeps the warning about a value that it changed, once", async () => {
    const { blob } = await service.blobs.put(photo());
    const request = { prompt: "a cube", image: { blob: blob.id }, steps: 1, width: 64, height: 64 };
    const { job } = await service.submit({ kind: "generate", request: { ...request, width: 70 } });
    const { warnings } = await service.finished(job.id);
    assert.equal(warnings.filter((warning) => warning.includes("width 70")).length, 1);
    assert.deepEqual([...new Set(warnings)], warnings);
  });

  test("cancels a running job within a step, and runs the next", async () => {
    const id = await submitted(service, { steps: 50, width: 256, height: 256 });
    await eventOf(service, id, ({ event }) => event === "step");
    const asked = await service.cancel(id);
    assert.deepEqual([asked.state, asked.cancel_requested], ["running", true]);
    const job = await service.finished(id);
    assert.equal(job.state, "cancelled");
    assert.ok(job.step < 50);
    await assert.rejects(service.results.image(id), { code: "no_image" });
    assert.equal((await service.finished(await submitted(service))).state, "succeeded");
  });

  test("starts queued jobs by priority, and says how many are ahead", async () => {
    await service.queue.pause();
    const ids = [await submitted(service), await submitted(service), await submitted(service)];
    assert.deepEqual(
      ids.map((id) => service.get(id).position),
      [0, 1, 2],
    );
    await service.update(ids[2]!, { priority: 5 });
    assert.deepEqual(
      ids.map((id) => service.get(id).position),
      [1, 2, 0],
    );
    const started: string[] = [];
    service.subscribe(null, ({ event, data }) => {
      if (event === "started") started.push(data.job);
    });
    await service.queue.resume();
    await Promise.all(ids.map((id) => service.finished(id)));
    assert.deepEqual(started, [ids[2], ids[0], ids[1]]);
  });

  test("tries a finished job again with the same request and seed, and gets the same pixels", async () => {
    const first = await service.finished(await submitted(service, { seed: 0 }));
    const again = await service.finished((await service.retry(first.id)).id);
    assert.notEqual(again.id, first.id);
    const [one, two] = await Promise.all([first, again].map(({ id }) => service.results.image(id)));
    assert.equal(hashOfPixels(two!.bytes), hashOfPixels(one!.bytes));
  });

  test("deletes a job with its files, but not the photo, which others may use", async () => {
    const job = await service.finished(await submitted(service));
    const { depth_image } = job.request as { depth_image: { blob: string } };
    await service.remove(job.id);
    assert.throws(() => service.get(job.id), { code: "not_found" });
    await assert.rejects(service.results.image(job.id), { code: "not_found" });
    assert.throws(() => service.events(job.id, 0), { code: "not_found" });
    const { sha256 } = job.image!;
    assert.equal(existsSync(join(folder, "files", sha256.slice(0, 2), sha256)), false);
    assert.equal(service.blobs.get(depth_image.blob).id, depth_image.blob);
  });

  test("fails a job whose picture has been damaged on the disk, and runs the next", async () => {
    await service.queue.pause();
    const id = await submitted(service);
    const { depth_image } = service.get(id).request as { depth_image: { blob: string } };
    const sha256 = depth_image.blob.slice("sha256-".length);
    writeFileSync(join(folder, "files", sha256.slice(0, 2), sha256), "damaged");
    await service.queue.resume();
    const job = await service.finished(id);
    assert.deepEqual(
      [job.state, job.error?.code, job.error?.type],
      ["failed", "damaged_file", "server_error"],
    );
    assert.equal((await service.finished(await submitted(service))).state, "succeeded");
  });
});

describe("a job service", () => {
  test("returns a request with its defaults, its seed drawn, and a request that it takes again", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const { job } = await service.submit(await generation(service, { seed: 0, steps: null }));
    assert.equal(job.request.steps, 20);
    assert.ok(typeof job.seed === "number" && job.seed > 0);
    assert.equal(job.request.seed, job.seed);
    const again = await service.submit({ kind: "generate", request: job.request, load: job.load });
    assert.deepEqual(again.job.request, job.request);
  });

  test("has a stream of all jobs, of the queue and of changes, that continues after any of its ids", async (t) => {
    const service = await openService(t);
    const live: StreamEvent[] = [];
    service.subscribe(null, (event) => live.push(event));
    await service.queue.pause();
    const id = await submitted(service);
    await service.update(id, { starred: true });
    await service.cancel(id);
    await service.remove(id);
    assert.deepEqual(
      live.map(({ event }) => event),
      ["queue", "queued", "updated", "cancelled", "deleted"],
    );
    const [queue] = live;
    assert.deepEqual(
      service.eventsOfAll(queue!.id).past.map(({ event }) => event),
      ["deleted"],
    );
  });

  test("cancels a queued job at once", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const id = await submitted(service);
    const job = await service.cancel(id);
    assert.deepEqual([job.state, job.attempt, job.position], ["cancelled", 0, null]);
    assert.deepEqual(story(service, id), ["queued", "cancelled"]);
    assert.equal((await service.cancel(id)).state, "cancelled");
  });

  test("tells a waiting job when its position changes", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const [first, second] = [await submitted(service), await submitted(service)];
    const told = new Promise<JobEvent>((resolve) => service.subscribe(second, resolve));
    await service.cancel(first);
    const { event, data } = await told;
    assert.deepEqual([event, (data as { position: number }).position], ["queued", 0]);
  });

  test("refuses changes that the state of a job does not allow", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const id = await submitted(service);
    await assert.rejects(service.remove(id), { code: "conflict" });
    await assert.rejects(service.retry(id), { code: "conflict" });
    await assert.rejects(service.results.image(id), { code: "job_not_finished" });
    await service.cancel(id);
    await assert.rejects(service.update(id, { priority: 1 }), { code: "conflict", param: "priority" });
  });

  test("returns the first job for a repeat with the same key and body, and refuses another body", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const body = await generation(service);
    const options = { idempotencyKey: "order-17", bodyHash: "a" };
    const both = await Promise.all([service.submit(body, options), service.submit(body, options)]);
    assert.deepEqual(both.map(({ created }) => created).sort(), [false, true]);
    assert.equal(both[0].job.id, both[1].job.id);
    await assert.rejects(service.submit(body, { ...options, bodyHash: "b" }), {
      code: "idempotency_mismatch",
    });
  });

  test("does not use up the key of a request that it refuses", async (t) => {
    const service = await openService(t);
    await service.queue.pause();
    const options = { idempotencyKey: "order-17" };
    const wrong = await generation(service, { steps: 99 });
    await assert.rejects(service.submit(wrong, options), { code: "out_of_range", param: "request.steps" });
    assert.equal((await service.submit(await generation(service), options)).created, true);
  });

  for (const [what, options, expected] of [
    ["a value out of range", { steps: 51 }, { code: "out_of_range", param: "request.steps" }],
    ["a value of another type", { width: "64" }, { code: "invalid_value", param: "request.width" }],
    ["an unknown field", { stepps: 5 }, { code: "unknown_field", param: "request.stepps" }],
    ["noise of its own", { latents: [1] }, { code: "unknown_field", param: "request.latents" }],
    ["a missing prompt", { prompt: null }, { code: "missing", param: "request.prompt" }],
    ["no picture", { depth_image: null }, { code: "missing", param: "request.depth_image" }],
    [
      "a strength without a photo",
      { image_strength: 0.5 },
      { code: "option_conflict", param: "request.image_strength" },
    ],
    ["a picture by its path", { image: "/etc/passwd" }, { code: "invalid_image", param: "request.image" }],
    ["a picture by its URL", { image: "https://example.org/a.png" }, { code: "invalid_image" }],
    [
      "an unknown picture",
      { image: { blob: `sha256-${"0".repeat(64)}` } },
      { code: "invalid_image", param: "request.image" },
    ],
  ] as const)
    test(`refuses ${what}, naming the field`, async (t) => {
      const service = await openService(t);
      await assert.rejects(
        generation(service, options).then((body) => service.submit(body)),
        expected,
      );
      assert.equal(service.queue.state().queued, 0);
    });

  for (const load of [{ model: "../../models" }, { model: "owner/other" }, { depth_model: "/tmp" }])
    test(`refuses the model ${JSON.stringify(load)}, which it does not offer`, async (t) => {
      const service = await openService(t);
      const body = { ...(await generation(service)), load };
      await assert.rejects(service.submit(body), { code: "model_not_found" });
    });

  test("refuses jobs beyond the length of its queue, and says when to try again", async (t) => {
    const service = await openService(t, { maxQueue: 2 });
    await service.queue.pause();
    await submitted(service);
    await submitted(service);
    await assert.rejects(submitted(service), { code: "queue_full", retryAfterSeconds: 10 });
  });

  test("lets a draining worker finish its job and take no more, also after a restart", async (t) => {
    const folder = temporaryFolder(t);
    const first = await openService(t, { folder, env: { ...process.env, ...slowSteps } });
    const running = await submitted(first);
    await eventOf(first, running, ({ event }) => event === "started");
    const waiting = await submitted(first);
    assert.equal(first.workers.drain("local").state, "draining");
    assert.equal((await first.finished(running)).state, "succeeded");
    assert.equal(first.get(waiting).state, "queued");
    await first.close();
    const second = await openService(t, { folder });
    assert.deepEqual([second.workers.list()[0]!.state, second.get(waiting).state], ["draining", "queued"]);
    second.workers.resume("local");
    assert.equal((await second.finished(waiting)).state, "succeeded");
    assert.throws(() => second.workers.drain("other"), { code: "not_found" });
  });

  test("stays paused after a restart", async (t) => {
    const folder = temporaryFolder(t);
    const first = await openService(t, { folder });
    await first.queue.pause();
    const id = await submitted(first);
    await first.close();
    const second = await openService(t, { folder });
    assert.deepEqual(second.queue.state(), { paused: true, queued: 1, running: 0 });
    await second.queue.resume();
    assert.equal((await second.finished(id)).state, "succeeded");
  });

  test("lists the models that requests may name, and which of them is loaded", async (t) => {
    const service = await openService(t, {
      allowedModels: [
        { name: "mine", folder: "/nowhere/secret" },
        { name: "owner/absent" },
        { name: "/nowhere/own" },
      ],
    });
    const job = await service.finished(await submitted(service));
    assert.equal(job.load.model, "tiny-world");
    const models = await service.catalogue.models();
    assert.deepEqual(
      models.map(({ id, owned_by: owner, ready, loaded }) => [id, owner, ready, loaded]),
      [
        ["tiny-world", "local", true, true],
        ["tiny-depth-anything", "local", true, false],
        ["mine", "local", false, false],
        ["owner/absent", "owner", false, false],
        ["/nowhere/own", "local", false, false],
      ],
    );
    assert.ok(models[0]!.bytes! > 1e6);
    await assert.rejects(service.catalogue.model("/nowhere/secret"), { code: "model_not_found" });
  });

  test("fails a job whose model is not on this machine, without saying where it looked", async (t) => {
    const folder = "/nowhere/secret";
    const service = await openService(t, { allowedModels: [{ name: "mine", folder }] });
    const body = { ...(await generation(service)), load: { model: "mine" } };
    const { error, state } = await service.finished((await service.submit(body)).job.id);
    assert.equal(state, "failed");
    assert.equal(error?.code, "model_not_found");
    assert.doesNotMatch(error!.message, /nowhere/);
  });

  test("is ready while its ledger and its disk are", async (t) => {
    const service = await openService(t);
    assert.deepEqual(await service.health(), { ready: true, checks: { ledger: "ok", disk: "ok" } });
  });
});

test("a LoRA that cannot be opened is named by its field", async (t) => {
  const service = await openService(t, { load: { model: "tiny-world", loras: ["absent.safetensors"] } });
  const { error } = await service.finished(await submitted(service));
  assert.deepEqual([error?.code, error?.param], ["model_not_found", "load.loras"]);
});
