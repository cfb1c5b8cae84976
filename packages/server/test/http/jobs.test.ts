import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import sharp from "sharp";
import type { JobObject, JobPage } from "../../src/contract/index.js";
import { depthMap } from "../support/pictures.js";
import { raw } from "../support/raw.js";
import { errorOf, jobBody, TestServer } from "../support/server.js";

const server = await TestServer.start();
/** A job that has succeeded. */
const done = await server.submit({ metadata: { order: "A-17" }, preview_every: 1 }, "/v1/jobs?wait=120");

const json = async <T>(path: string): Promise<T> => (await (await server.fetch(path)).json()) as T;

/** The pixels of a job's picture; its bytes also hold the time. */
const pixelsOf = async ({ image }: JobObject): Promise<Buffer> =>
  sharp(Buffer.from(await (await server.fetch(image!.url)).arrayBuffer()))
    .raw()
    .toBuffer();

/** Runs with the queue paused, so that jobs stay queued. */
async function whilePaused(run: () => Promise<void>): Promise<void> {
  await server.fetch("/v1/queue/pause", { method: "POST" });
  try {
    await run();
  } finally {
    await server.fetch("/v1/queue/resume", { method: "POST" });
  }
}

describe("a submitted job", () => {
  test("answers 202 with its address", async () => {
    const response = await server.send("POST", "/v1/jobs", jobBody());
    const job = (await response.json()) as JobObject;
    assert.equal(response.status, 202);
    assert.equal(response.headers.get("location"), `/v1/jobs/${job.id}`);
    assert.equal((await server.finished(job.id)).state, "succeeded");
  });

  test("answers 200 when it finishes while the client waits", () => {
    assert.equal(done.state, "succeeded");
    assert.equal(done.step, 2);
  });

  test("answers 202 when the time to wait is over", async () =>
    whilePaused(async () => {
      const response = await server.send("POST", "/v1/jobs?wait=0.2", jobBody());
      const job = (await response.json()) as JobObject;
      assert.deepEqual([response.status, job.state, job.position], [202, "queued", 0]);
      await server.fetch(`/v1/jobs/${job.id}/cancel`, { method: "POST" });
    }));

  test("comes back with defaults, and its picture as a blob", () => {
    assert.equal(done.request.guidance, 10);
    assert.match((done.request.depth_image as { blob: string }).blob, /^sha256-[0-9a-f]{64}$/);
    assert.deepEqual(done.metadata, { order: "A-17" });
    assert.equal(done.preview_every, 1);
  });

  test("gets a seed in place of 0", async () => {
    const job = await server.submit({ request: { seed: 0 } });
    assert.ok(job.seed !== null && job.seed > 0);
    assert.equal(job.request.seed, job.seed);
  });

  test("takes its pictures as files of a form", async () => {
    const form = new FormData();
    const { request, ...rest } = jobBody() as { request: { depth_image: unknown } };
    const { depth_image: _, ...options } = request;
    form.set("job", JSON.stringify({ ...rest, request: options }));
    form.set("depth_image", new Blob([depthMap]), "map.png");
    const response = await server.fetch("/v1/jobs?wait=60", { method: "POST", body: form });
    const job = (await response.json()) as JobObject;
    assert.deepEqual(job.request, done.request);
    assert.deepEqual(await pixelsOf(job), await pixelsOf(done));
  });

  test("takes the part job as a file of JSON too", async () => {
    const form = new FormData();
    form.set("job", new Blob([JSON.stringify(jobBody())], { type: "application/json" }), "job.json");
    assert.equal((await server.fetch("/v1/jobs", { method: "POST", body: form })).status, 202);
  });

  test("takes parts of a form that have a type and no file name", async () => {
    const { request, ...rest } = jobBody() as { request: { depth_image: unknown } };
    const { depth_image: _, ...options } = request;
    const part = (name: string, type: string): string =>
      `--b\r\ncontent-disposition: form-data; name="${name}"\r\ncontent-type: ${type}\r\n\r\n`;
    const answer = await raw(server, {
      method: "POST",
      path: "/v1/jobs",
      headers: { "content-type": "multipart/form-data; boundary=b" },
      body: Buffer.concat([
        Buffer.from(part("job", "application/json; charset=utf-8")),
        Buffer.from(`${JSON.stringify({ ...rest, request: options })}\r\n`),
        Buffer.from(part("depth_image", "image/png")),
        depthMap,
        Buffer.from("\r\n--b--\r\n"),
      ]),
    });
    assert.equal(answer.status, 202, answer.body);
    assert.deepEqual((JSON.parse(answer.body) as JobObject).request, done.request);
  });

  test("takes a picture as a data URL", async () => {
    const job = await server.submit({
      request: { depth_image: `data:image/png;base64,${depthMap.toString("base64")}` },
    });
    assert.deepEqual(job.request.depth_image, done.request.depth_image);
  });
});

describe("an idempotency key", () => {
  const send = (changes: Parameters<typeof jobBody>[0], key: string) =>
    server.send("POST", "/v1/jobs", jobBody(changes), { "idempotency-key": key });

  test("returns the first job to a repeat, however its fields are ordered", async () => {
    const first = (await (await send({ priority: 1 }, "a")).json()) as JobObject;
    const { kind, ...rest } = jobBody({ priority: 1 }) as { kind: string };
    const repeat = await server.send("POST", "/v1/jobs", { ...rest, kind }, { "idempotency-key": "a" });
    assert.equal(repeat.status, 200);
    assert.equal(((await repeat.json()) as JobObject).id, first.id);
  });

  test("with another body is refused", async () => {
    await send({}, "b");
    const { status, error } = await errorOf(await send({ request: { prompt: "another" } }, "b"));
    assert.deepEqual([status, error.code], [422, "idempotency_mismatch"]);
  });

  test("is not used up by a refused request", async () => {
    assert.equal((await send({ request: { steps: 51 } }, "c")).status, 400);
    assert.equal((await send({}, "c")).status, 202);
  });

  test("must be visible ASCII", async () => {
    const { status, error } = await errorOf(await send({}, "a b"));
    assert.deepEqual([status, error.param], [400, "Idempotency-Key"]);
  });
});

describe("the list of jobs", () => {
  test("begins with the newest and continues by cursor", async () => {
    const all = await json<JobPage>("/v1/jobs?limit=200");
    const first = await json<JobPage>("/v1/jobs?limit=2");
    const second = await json<JobPage>(`/v1/jobs?limit=2&cursor=${first.next_cursor}`);
    assert.deepEqual(
      [...first.data, ...second.data].map(({ id }) => id),
      all.data.slice(0, 4).map(({ id }) => id),
    );
    assert.equal(all.next_cursor, null);
  });

  test("filters by several states", async () => {
    const { data } = await json<JobPage>("/v1/jobs?state=cancelled&state=failed");
    assert.ok(data.length > 0 && data.every(({ state }) => state === "cancelled" || state === "failed"));
  });

  test("finds words in prompts, whatever their case", async () => {
    const job = await server.submit({ request: { prompt: "An Ochre Teapot" } });
    const found = await json<JobPage>("/v1/jobs?q=teapot%20OCHRE");
    assert.deepEqual(
      found.data.map(({ id }) => id),
      [job.id],
    );
  });

  test("filters by star", async () => {
    await server.send("PATCH", `/v1/jobs/${done.id}`, { starred: true });
    const { data } = await json<JobPage>("/v1/jobs?starred=true");
    assert.deepEqual(
      data.map(({ id }) => id),
      [done.id],
    );
  });
});

describe("a finished job", () => {
  test("has its picture at the address it gives", async () => {
    const response = await server.fetch(done.image!.url);
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.equal(response.headers.get("content-type"), "image/png");
    assert.equal(bytes.length, done.image!.bytes);
    const { width, height } = await sharp(bytes).metadata();
    assert.deepEqual([width, height], [32, 32]);
  });

  test("has its pictures by number", async () => {
    assert.equal((await server.fetch(done.images[0]!.url)).status, 200);
    assert.equal((await errorOf(await server.fetch(`/v1/jobs/${done.id}/images/2`))).status, 404);
  });

  test("has its scored pictures by rank", async () => {
    const { image, images } = await server.submit({ request: { best_of: 2 } }, "/v1/jobs?wait=60");
    assert.equal(images.length, 2);
    assert.ok(images[0]!.score!.rmse < images[1]!.score!.rmse);
    assert.equal(image!.sha256, images[0]!.sha256);
    for (const { url, sha256 } of images) {
      const bytes = Buffer.from(await (await server.fetch(url)).arrayBuffer());
      assert.equal(createHash("sha256").update(bytes).digest("hex"), sha256);
      const { exif } = await sharp(bytes).metadata();
      assert.match(exif!.toString("latin1"), /"fidelity":\{"rmse":/);
    }
  });

  for (const format of ["png", "jpeg", "webp"] as const)
    test(`has a thumbnail as ${format}`, async () => {
      const response = await server.fetch(`/v1/jobs/${done.id}/image?width=16&format=${format}`);
      assert.equal(response.headers.get("content-type"), `image/${format}`);
      const info = await sharp(Buffer.from(await response.arrayBuffer())).metadata();
      assert.deepEqual([info.format, info.width, info.height], [format, 16, 16]);
    });

  test("answers 304 to a client that has the picture already", async () => {
    const { headers } = await server.fetch(done.image!.url);
    const again = await server.fetch(done.image!.url, { headers: { "if-none-match": headers.get("etag")! } });
    assert.equal(again.status, 304);
  });

  test("has its depth map as 8 bits, 16 bits and floats", async () => {
    const get = async (format: string) =>
      Buffer.from(await (await server.fetch(`/v1/jobs/${done.id}/depth?format=${format}`)).arrayBuffer());
    assert.equal((await sharp(await get("png")).metadata()).depth, "uchar");
    assert.equal((await sharp(await get("png16")).metadata()).depth, "ushort");
    const npy = await get("npy");
    assert.match(npy.toString("latin1", 0, 128), /NUMPY.*'<f4'.*\(32, 32\)/s);
    const start = 10 + npy.readUInt16LE(8);
    for (let i = start; i < npy.length; i += 4) assert.ok(npy.readFloatLE(i) >= 0 && npy.readFloatLE(i) <= 1);
  });

  test("is unchanged when it is cancelled", async () => {
    const response = await server.fetch(`/v1/jobs/${done.id}/cancel`, { method: "POST" });
    const { state, cancel_requested } = (await response.json()) as JobObject;
    assert.deepEqual([state, cancel_requested], ["succeeded", false]);
  });

  test("can be made again with the same seed", async () => {
    const response = await server.fetch(`/v1/jobs/${done.id}/retry`, { method: "POST" });
    const job = (await response.json()) as JobObject;
    assert.equal(response.status, 202);
    assert.notEqual(job.id, done.id);
    const again = await server.finished(job.id);
    assert.deepEqual(await pixelsOf(again), await pixelsOf(done));
  });

  test("has no priority to change", async () => {
    const { status, error } = await errorOf(
      await server.send("PATCH", `/v1/jobs/${done.id}`, { priority: 5 }),
    );
    assert.deepEqual([status, error.code], [409, "conflict"]);
  });

  test("is gone with its picture once it is deleted", async () => {
    const job = await server.submit({}, "/v1/jobs?wait=60");
    assert.equal((await server.fetch(`/v1/jobs/${job.id}`, { method: "DELETE" })).status, 204);
    for (const path of ["", "/image", "/events", "/depth"])
      assert.equal((await errorOf(await server.fetch(`/v1/jobs/${job.id}${path}`))).status, 404);
  });
});

describe("a queued job", () => {
  test("is cancelled at once", async () =>
    whilePaused(async () => {
      const job = await server.submit();
      const response = await server.fetch(`/v1/jobs/${job.id}/cancel`, { method: "POST" });
      assert.equal(((await response.json()) as JobObject).state, "cancelled");
      const { status, error } = await errorOf(await server.fetch(`/v1/jobs/${job.id}/image`));
      assert.deepEqual([status, error.code], [404, "no_image"]);
    }));

  test("can neither be deleted, made again nor looked at", async () =>
    whilePaused(async () => {
      const job = await server.submit();
      const path = `/v1/jobs/${job.id}`;
      const codes = [
        await server.fetch(path, { method: "DELETE" }),
        await server.fetch(`${path}/retry`, { method: "POST" }),
        await server.fetch(`${path}/image`),
      ].map(async (response) => (await errorOf(response)).status);
      assert.deepEqual(await Promise.all(codes), [409, 409, 409]);
      await server.fetch(`${path}/cancel`, { method: "POST" });
    }));

  test("moves ahead with a higher priority", async () =>
    whilePaused(async () => {
      const [first, second] = [await server.submit(), await server.submit()];
      const response = await server.send("PATCH", `/v1/jobs/${second.id}`, { priority: 5 });
      const { priority, position } = (await response.json()) as JobObject;
      assert.deepEqual([priority, position], [5, 0]);
      assert.equal((await json<JobObject>(`/v1/jobs/${first.id}`)).position, 1);
      for (const { id } of [first, second]) await server.fetch(`/v1/jobs/${id}/cancel`, { method: "POST" });
    }));
});

test("a running job ends soon after it is cancelled", async () => {
  const job = await server.submit({ request: { steps: 50, width: 256, height: 256 } });
  while ((await json<JobObject>(`/v1/jobs/${job.id}`)).state === "queued") {}
  const response = await server.fetch(`/v1/jobs/${job.id}/cancel`, { method: "POST" });
  const asked = (await response.json()) as JobObject;
  assert.ok(asked.cancel_requested || asked.state === "cancelled");
  const { state } = await server.finished(job.id);
  assert.equal(state, "cancelled");
});

test("the queue says how many jobs wait, and whether it is paused", async () => {
  await server.fetch("/v1/queue/pause", { method: "POST" });
  const job = await server.submit();
  const queue = await json<{ paused: boolean; queued: number }>("/v1/queue");
  assert.deepEqual([queue.paused, queue.queued], [true, 1]);
  const resumed = await server.fetch("/v1/queue/resume", { method: "POST" });
  assert.equal(((await resumed.json()) as { paused: boolean }).paused, false);
  await server.finished(job.id);
});
