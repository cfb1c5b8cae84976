import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parametersIn } from "mflux-depth/images";
import type { JobEvent, JobObject } from "../../src/contract/index.js";
import { JobService } from "../../src/jobs/service.js";
import { temporaryFolder } from "../support/folder.js";
import { hashOfPixels } from "../support/png.js";
import { Scope } from "../support/scope.js";
import {
  emptyCache,
  eventOf,
  generation,
  killEngine,
  openService,
  story,
  submitted,
} from "../support/service.js";
import { ServiceProcess } from "../support/service-process.js";
import { slowSteps } from "../support/slow-steps.js";

/** Three images, each of which takes more than a second with slow steps. */
const three = { best_of: 3, steps: 6, seed: 7 };

/** The environment of an engine with slow steps. */
const env = { ...process.env, ...slowSteps };

/** The pixels of a job's images, by their seeds. */
async function pixelsOf(service: JobService, { id, images }: JobObject): Promise<Map<number, string>> {
  const pixels = new Map<number, string>();
  for (const [index, { seed }] of images.entries())
    pixels.set(seed!, hashOfPixels((await service.results.image(id, index + 1)).bytes));
  return pixels;
}

const stepOf = ({ event, data }: JobEvent): number => (event === "step" ? data.step : 0);

describe("a job that makes several images", () => {
  const scope = new Scope("a service for images");
  let service: JobService;
  before(async () => {
    service = await openService(scope);
  });
  after(() => scope.end());

  test("ranks them by their scores, the best first", async () => {
    const id = await submitted(service, { best_of: 3 });
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.seed, job.image?.seed], ["succeeded", 7, job.images[0]!.seed]);
    assert.deepEqual(job.images.map(({ seed }) => seed!).toSorted(), [7, 8, 9]);
    const errors = job.images.map(({ score }) => score!.rmse);
    assert.deepEqual(
      errors,
      errors.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(errors).size, 3);
    assert.equal((await service.results.image(id)).sha256, job.images[0]!.sha256);
    for (const [index, { url, sha256 }] of job.images.entries()) {
      assert.equal(url, `/v1/jobs/${id}/images/${index + 1}`);
      assert.equal((await service.results.image(id, index + 1)).sha256, sha256);
    }
    assert.equal((await service.results.depthMap(id)).width, 32);
    for (const [index, { score }] of job.images.entries()) {
      const { fidelity } = (await parametersIn((await service.results.image(id, index + 1)).bytes))!;
      const expected = { ...score, depth_model: "tiny-depth-anything", rank: index + 1, candidates: 3 };
      assert.deepEqual(fidelity, expected);
    }
  });

  test("makes the images that jobs with the same seeds make alone", async () => {
    const job = await service.finished(await submitted(service, { best_of: 2 }));
    const together = await pixelsOf(service, job);
    for (const seed of [7, 8]) {
      const alone = await service.finished(await submitted(service, { seed }));
      assert.deepEqual(alone.images[0]!.score, null);
      assert.equal(together.get(seed), (await pixelsOf(service, alone)).get(seed));
    }
  });

  test("counts the steps of all images", async () => {
    await service.queue.pause();
    const id = await submitted(service, { best_of: 3 });
    assert.equal(service.get(id).steps, 6);
    const steps: number[] = [];
    service.subscribe(id, (event) => event.event === "step" && steps.push(event.data.step));
    await service.queue.resume();
    const { step } = await service.finished(id);
    assert.deepEqual([steps, step], [[1, 2, 3, 4, 5, 6], 6]);
  });

  test("is tried again with the same seeds", async () => {
    const id = await submitted(service, { best_of: 2 });
    const first = await service.finished(id);
    const again = await service.finished((await service.retry(id)).id);
    assert.deepEqual(
      again.images.map(({ seed, score }) => [seed, score]),
      first.images.map(({ seed, score }) => [seed, score]),
    );
  });

  test("is refused when the judge is not on this machine, with the command that downloads it", async (t) => {
    const model = join(temporaryFolder(t), "own-world");
    cpSync(fileURLToPath(import.meta.resolve("../../../../mflux-depth/models/tiny-world")), model, {
      recursive: true,
    });
    const service = await openService(t, { load: { model }, env: emptyCache(t) });
    await assert.rejects(submitted(service, { best_of: 2 }), {
      code: "model_not_found",
      param: "request.best_of",
      message: /leave best_of out, .*--depth-model depth-anything\/Depth-Anything-V2-Small-hf\)\.$/,
    });
    await service.cancel(await submitted(service));
  });

  for (const count of [0, 101, 1.5])
    test(`is refused with best_of ${count}`, async () => {
      await assert.rejects(service.submit(await generation(service, { best_of: count })), {
        param: "request.best_of",
        message: /best_of/,
      });
    });
});

describe("a job that makes several images and is interrupted", () => {
  let pixels: Map<number, string>;
  before(async () => {
    const folder = temporaryFolder({ name: "uninterrupted" });
    const service = await JobService.open({ folder, load: { model: "tiny-world" } });
    pixels = await pixelsOf(service, await service.finished(await submitted(service, three)));
    await service.close();
  });

  test("continues after the images it has when its server is killed", async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServiceProcess.open(t, folder, { slow: true });
    const id = await server.submit(three);
    await server.event((event) => event.event === "step" && event.data.step >= 7);
    await server.kill();
    const service = await openService(t, { folder });
    const resumed = await eventOf(service, id, ({ event }) => event === "resumed");
    assert.ok((resumed.data as { from_step: number }).from_step >= 6);
    const job = await service.finished(id);
    assert.deepEqual(await pixelsOf(service, job), pixels);
    assert.deepEqual(story(service, id), ["queued", "started", "queued", "started", "resumed", "succeeded"]);
  });

  test("survives its engine", async (t) => {
    const service = await openService(t, { env });
    const id = await submitted(service, three);
    await eventOf(service, id, (event) => stepOf(event) >= 8);
    await killEngine();
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.attempt], ["succeeded", 2]);
    assert.deepEqual(await pixelsOf(service, job), pixels);
  });

  test("ends without images when it is cancelled", async (t) => {
    const service = await openService(t, { env });
    const id = await submitted(service, three);
    await eventOf(service, id, (event) => stepOf(event) >= 7);
    await service.cancel(id);
    const job = await service.finished(id);
    assert.deepEqual([job.state, job.image, job.images], ["cancelled", null, []]);
    await assert.rejects(service.results.image(id), { code: "no_image" });
    await service.remove(id);
  });
});
