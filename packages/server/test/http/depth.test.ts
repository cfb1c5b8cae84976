import assert from "node:assert/strict";
import { describe, test } from "node:test";
import sharp from "sharp";
import type { JobObject, JobPage, PlanObject } from "../../src/contract/index.js";
import { errorOf, gone, jobBody, photo, TestServer } from "../support/server.js";

const server = await TestServer.start();
const { width, height } = await sharp(photo).metadata();

const depth = (query = "", body: string | Uint8Array | FormData = photo): Promise<Response> =>
  server.fetch(`/v1/depth${query}`, { method: "POST", body });
const bytesOf = async (response: Response): Promise<Buffer> => {
  assert.equal(response.status, 200, response.ok ? "" : await response.clone().text());
  return Buffer.from(await response.arrayBuffer());
};
const floatsOf = (npy: Buffer): number[] => {
  const start = 10 + npy.readUInt16LE(8);
  return Array.from({ length: (npy.length - start) / 4 }, (_, i) => npy.readFloatLE(start + 4 * i));
};

describe("depth at once", () => {
  test("is a map of the photo's size", async () => {
    const info = await sharp(await bytesOf(await depth())).metadata();
    assert.deepEqual([info.format, info.depth, info.width, info.height], ["png", "uchar", width, height]);
  });

  test("has 16 bits on request", async () => {
    assert.equal((await sharp(await bytesOf(await depth("?format=png16"))).metadata()).depth, "ushort");
  });

  test("is floats from 0 to 1 as npy", async () => {
    const values = floatsOf(await bytesOf(await depth("?format=npy")));
    assert.equal(values.length, width! * height!);
    assert.ok(values.every((value) => value >= 0 && value <= 1));
  });

  test("is the estimator's own values with raw", async () => {
    const values = floatsOf(await bytesOf(await depth("?format=npy&raw=true")));
    assert.ok(values.length > 0 && values.every(Number.isFinite));
  });

  test("is adjusted as asked for", async () => {
    const plain = floatsOf(await bytesOf(await depth("?format=npy")));
    const inverted = floatsOf(await bytesOf(await depth("?format=npy&invert=true")));
    for (const [i, value] of plain.entries()) assert.ok(Math.abs(1 - value - inverted[i]!) < 1e-5);
    const bent = floatsOf(await bytesOf(await depth("?format=npy&gamma=2&near=90&far=10")));
    assert.notDeepEqual(bent, plain);
  });

  test("takes the photo as a part of a form", async () => {
    const form = new FormData();
    form.set("image", new Blob([photo]), "photo.png");
    assert.deepEqual(await bytesOf(await depth("", form)), await bytesOf(await depth()));
  });

  test("leaves no picture behind", async () => {
    const unseen = await sharp(photo).negate().png().toBuffer();
    await bytesOf(await depth("", unseen));
    await gone(server, unseen);
  });

  test("leaves no job behind", async () => {
    await bytesOf(await depth());
    assert.deepEqual(((await (await server.fetch("/v1/jobs")).json()) as JobPage).data, []);
  });

  for (const [query, param, code] of [
    ["?near=101", "near", "out_of_range"],
    ["?gamma=0", "gamma", "out_of_range"],
    ["?raw=true", "raw", "invalid_value"],
    ["?format=exr", "format", "invalid_value"],
    ["?nearer=1", "nearer", "unknown_parameter"],
  ] as const)
    test(`refuses ${query}`, async () => {
      const { status, error } = await errorOf(await depth(query));
      assert.deepEqual([status, error.param, error.code], [400, param, code]);
    });

  test("refuses levels that are the wrong way round", async () => {
    const { status, error } = await errorOf(await depth("?near=10&far=90"));
    assert.deepEqual([status, error.param], [400, "near"]);
  });

  test("refuses anything but a picture", async () => {
    assert.equal((await errorOf(await depth("", "hello"))).status, 415);
  });

  test("does not wait for a running generation", async () => {
    const job = await server.submit({ request: { steps: 50, width: 512, height: 512 } });
    await server.reached(job.id, 1);
    await bytesOf(await depth());
    const { state } = (await (await server.fetch(`/v1/jobs/${job.id}`)).json()) as JobObject;
    assert.equal(state, "running");
    await server.fetch(`/v1/jobs/${job.id}/cancel`, { method: "POST" });
    await server.finished(job.id);
  });
});

test("a job of kind depth makes a map and no image", async () => {
  const body = { kind: "depth", request: { image: { base64: photo.toString("base64") }, depth_gamma: 2 } };
  const response = await server.send("POST", "/v1/jobs?wait=120", body);
  const job = (await response.json()) as JobObject;
  assert.deepEqual(
    [response.status, job.state, job.seed, job.steps, job.image],
    [200, "succeeded", null, null, null],
  );
  assert.deepEqual([job.depth?.width, job.depth?.height], [width, height]);
  assert.equal((await errorOf(await server.fetch(`/v1/jobs/${job.id}/image`))).error.code, "no_image");
  assert.equal((await server.fetch(job.depth!.url)).status, 200);
});

describe("a plan", () => {
  test("says what a job would need, and starts nothing", async () => {
    const plan = (await (await server.send("POST", "/v1/plan", jobBody())).json()) as PlanObject;
    assert.equal(plan.fits, true);
    assert.ok(plan.peak_bytes > 0 && plan.stages.length > 0);
    assert.deepEqual(Object.keys(plan).sort(), [
      "alternatives",
      "available_bytes",
      "estimated_seconds",
      "fits",
      "notes",
      "peak_bytes",
      "stages",
    ]);
  });

  test("refuses what the job would be refused for", async () => {
    const { status, error } = await errorOf(
      await server.send("POST", "/v1/plan", jobBody({ request: { steps: 51 } })),
    );
    assert.deepEqual([status, error.param], [400, "request.steps"]);
  });
});
