import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI, { APIError, toFile } from "openai";
import sharp from "sharp";
import type { JobPage } from "../../src/contract/index.js";
import { depthMap } from "../support/pictures.js";
import { raw } from "../support/raw.js";
import { photo, TestServer } from "../support/server.js";
import { slowSteps } from "../support/slow-steps.js";

const token = "a-token-for-the-client";
const server = await TestServer.start({ env: { MFLUX_DEPTH_TOKEN: token } });
const client = new OpenAI({ apiKey: token, baseURL: `${server.url}/v1`, maxRetries: 0 });

const base64 = depthMap.toString("base64");
const small = { prompt: "a red cube", model: "tiny-world", size: "32x32" as never };
/** Fields that only this server has. */
const ours = { depth_image: base64, steps: 2, seed: 7 } as object;

const decoded = async (b64: string | undefined) => sharp(Buffer.from(b64!, "base64")).metadata();
const jobs = async (): Promise<JobPage> => {
  const { body } = await raw(server, {
    path: "/v1/jobs?limit=200",
    headers: { authorization: `Bearer ${token}` },
  });
  return JSON.parse(body);
};

const openStreams = async (): Promise<number> => {
  const { body } = await raw(server, { path: "/metrics", headers: { authorization: `Bearer ${token}` } });
  return Number(/^mflux_depth_sse_clients (\d+)/m.exec(body)![1]);
};

describe("images.generate", () => {
  test("returns an image of the size and format asked for", async () => {
    const { data, created } = await client.images.generate({ ...small, output_format: "webp", ...ours });
    const { format, width, height } = await decoded(data?.[0]?.b64_json);
    assert.deepEqual([format, width, height], ["webp", 32, 32]);
    assert.ok(Math.abs(created - Date.now() / 1000) < 600);
  });

  test("returns n images whose seeds count up", async () => {
    const { data } = await client.images.generate({ ...small, n: 3, ...ours });
    assert.equal(new Set(data?.map(({ b64_json }) => b64_json)).size, 3);
    const { data: latest } = await jobs();
    assert.deepEqual(
      latest
        .slice(0, 3)
        .map(({ seed }) => seed)
        .sort(),
      [7, 8, 9],
    );
  });

  test("returns n images after the largest seed too", async () => {
    await client.images.generate({ ...small, n: 2, ...ours, seed: 4294967295 } as typeof small);
    const { data: latest } = await jobs();
    assert.deepEqual(new Set(latest.slice(0, 2).map(({ seed }) => seed)), new Set([4294967295, 1]));
  });

  test("returns addresses on request", async () => {
    const { data } = await client.images.generate({ ...small, response_format: "url", ...ours });
    const url = data?.[0]?.url ?? "";
    assert.ok(url.startsWith(server.url), url);
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.headers.get("content-type"), "image/png");
  });

  test("makes JPEG smaller with more compression", async () => {
    const sizeAt = async (quality: number): Promise<number> => {
      const request = { ...small, output_format: "jpeg" as const, output_compression: quality, ...ours };
      return (await client.images.generate(request)).data![0]!.b64_json!.length;
    };
    assert.ok((await sizeAt(20)) < (await sizeAt(100)));
  });

  test("takes the proportions of the map for the size auto", async () => {
    const wide = await sharp(depthMap).resize(96, 48, { fit: "fill" }).png().toBuffer();
    const request = { prompt: "x", n: 1, ...ours, depth_image: wide.toString("base64"), steps: 1 };
    const controller = new AbortController();
    const answer = client.images.generate(request as never, { signal: controller.signal }).catch(() => null);
    let newest = (await jobs()).data[0]!;
    while (newest.request.prompt !== "x") newest = (await jobs()).data[0]!;
    const { width, height } = newest.request as { width: number; height: number };
    assert.ok(Math.abs(width / height - 2) < 0.05, `${width}×${height}`);
    controller.abort();
    await answer;
    await raw(server, {
      method: "POST",
      path: `/v1/jobs/${newest.id}/cancel`,
      headers: { authorization: `Bearer ${token}` },
    });
  });

  test("accepts what means nothing here", async () => {
    const rest = {
      quality: "high",
      style: "vivid",
      background: "opaque",
      moderation: "low",
      user: "u",
    } as object;
    const { data } = await client.images.generate({ ...small, ...rest, ...ours });
    assert.equal(data?.length, 1);
  });

  test("streams previews and the image", async () => {
    const queue = (action: "pause" | "resume") =>
      server.send("POST", `/v1/queue/${action}`, {}, { authorization: `Bearer ${token}` });
    // The stream stays open until it has been counted.
    await queue("pause");
    const stream = await client.images.generate({
      ...small,
      stream: true,
      partial_images: 2,
      ...ours,
      ...{ steps: 6 },
    });
    const events = [];
    const streams = await openStreams();
    await queue("resume");
    for await (const event of stream) events.push(event);
    assert.equal(streams, 1);
    const partial = events.filter((event) => event.type === "image_generation.partial_image");
    assert.deepEqual(
      partial.map((event) => event.partial_image_index),
      [0, 1],
    );
    for (const event of partial) assert.equal((await decoded(event.b64_json)).format, "png");
    const last = events.at(-1)!;
    assert.equal(last.type, "image_generation.completed");
    assert.equal((await decoded(last.b64_json)).width, 32);
  });
});

describe("a request for several images", () => {
  const authorization = { authorization: `Bearer ${token}` };
  const post = (path: string) => raw(server, { method: "POST", path, headers: authorization });
  const withSeeds = async (...seeds: number[]) =>
    (await jobs()).data.filter(({ seed }) => seeds.includes(seed!)).toReversed();

  for (const stream of [false, true])
    test(`${stream ? "as a stream " : ""}fails as soon as one of them cannot be made, and ends the others`, async () => {
      const seed = stream ? 311 : 301;
      await post("/v1/queue/pause");
      const request = server.send(
        "POST",
        "/v1/images/generations",
        { ...small, ...ours, n: 2, seed, stream },
        authorization,
      );
      let waiting = await withSeeds(seed, seed + 1);
      while (waiting.length < 2) waiting = await withSeeds(seed, seed + 1);
      await post(`/v1/jobs/${waiting[0]!.id}/cancel`);
      assert.match(await (await request).text(), /"code":"cancelled"/);
      while (waiting.some(({ state }) => state === "queued")) waiting = await withSeeds(seed, seed + 1);
      assert.deepEqual(
        waiting.map(({ state }) => state),
        ["cancelled", "cancelled"],
      );
      await post("/v1/queue/resume");
    });
});

describe("images.edit", () => {
  test("takes a photo and a depth map as files, and options as text", async () => {
    const request = {
      ...small,
      image: await toFile(photo, "photo.png", { type: "image/png" }),
      ...{
        depth_image: await toFile(depthMap, "map.png", { type: "image/png" }),
        steps: 2,
        image_strength: 0.5,
      },
    };
    const { data } = await client.images.edit(request);
    assert.equal((await decoded(data?.[0]?.b64_json)).width, 32);
    const [newest] = (await jobs()).data;
    assert.deepEqual([newest!.request.steps, newest!.request.image_strength], [2, 0.5]);
  });

  test("takes a list of one photo", async () => {
    const image = [await toFile(photo, "photo.png", { type: "image/png" })];
    const { data } = await client.images.edit({ ...small, image, ...ours });
    assert.equal(data?.length, 1);
  });

  test("streams the image", async () => {
    const image = await toFile(photo, "photo.png", { type: "image/png" });
    const stream = await client.images.edit({ ...small, image, stream: true, ...ours });
    const types = [];
    for await (const { type } of stream) types.push(type);
    assert.equal(types.at(-1), "image_edit.completed");
  });
});

describe("a refusal", () => {
  const refused = async (changes: object): Promise<APIError> => {
    const error = await client.images.generate({ ...small, ...ours, ...changes }).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof APIError);
    return error;
  };

  for (const [what, changes, param, code] of [
    ["a value out of range", { n: 11 }, "n", "out_of_range"],
    ["an option of ours out of range", { steps: 51 }, "steps", "out_of_range"],
    ["a size of another form", { size: "large" }, "size", "invalid_value"],
    ["a size out of range", { size: "8x8" }, "size", "out_of_range"],
    ["a size given twice", { width: 64 }, "size", "option_conflict"],
    ["an unknown field", { strength: 1 }, "strength", "unknown_field"],
    ["another format", { output_format: "bmp" }, "output_format", "invalid_value"],
    ["compression of PNG", { output_compression: 50 }, "output_compression", "invalid_value"],
    ["a mask in OpenAI's sense", { mask: "AAAA" }, "mask", "unknown_field"],
    ["previews without a stream", { partial_images: 2 }, "partial_images", "invalid_value"],
    ["a picture that cannot be read", { depth_image: "AAAA" }, "depth_image", "invalid_image"],
    ["no picture", { depth_image: null }, "depth_image", "missing"],
  ] as const)
    test(`of ${what} names the bare field`, async () => {
      const error = await refused(changes);
      assert.deepEqual([error.status, error.param, error.code], [400, param, code], error.message);
      assert.doesNotMatch(error.message, /request\./);
    });

  test("of a model that is not offered is 404", async () => {
    const error = await refused({ model: "dall-e-3" });
    assert.deepEqual([error.status, error.code], [404, "model_not_found"]);
  });

  test("of a wrong token is 401", async () => {
    const other = new OpenAI({ apiKey: "wrong", baseURL: `${server.url}/v1`, maxRetries: 0 });
    await assert.rejects(other.images.generate({ ...small, ...ours }), { status: 401 });
  });
});

test("models are listed and retrieved by name", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, ["tiny-world", "tiny-depth-anything"]);
  assert.equal((await client.models.retrieve("tiny-world")).object, "model");
  await assert.rejects(client.models.retrieve("owner/other"), { status: 404, code: "model_not_found" });
});

describe("a request whose client left", () => {
  const headers = (count: number) => ({
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    "x-stainless-retry-count": `${count}`,
  });
  const send = (
    seed: number,
    { retries = 0, steps = 2, signal }: { retries?: number; steps?: number; signal?: AbortSignal } = {},
  ) =>
    server.fetch("/v1/images/generations", {
      method: "POST",
      headers: headers(retries),
      body: JSON.stringify({ ...small, ...ours, steps, seed }),
      ...(signal && { signal }),
    });
  const withSeed = async (seed: number) => (await jobs()).data.filter((job) => job.seed === seed);

  test("is attached to by its repeat", async () => {
    const controller = new AbortController();
    const first = send(101, { steps: 50, signal: controller.signal }).catch(() => null);
    while ((await withSeed(101)).length === 0) {}
    controller.abort();
    await first;
    const { data } = (await (await send(101, { steps: 50, retries: 1 })).json()) as {
      data: { b64_json: string }[];
    };
    assert.equal(data.length, 1);
    assert.equal((await withSeed(101)).length, 1);
  });

  test("is attached to after it finished too", async () => {
    await (await send(102)).json();
    await (await send(102, { retries: 1 })).json();
    assert.equal((await withSeed(102)).length, 1);
  });

  test("is made again by the same request unless it is a repeat", async () => {
    await (await send(103)).json();
    await (await send(103)).json();
    assert.equal((await withSeed(103)).length, 2);
  });
});

test("a stream says why it ends when the server stops", async () => {
  const stopped = await TestServer.start({ env: slowSteps });
  const response = await stopped.send("POST", "/v1/images/generations", {
    ...{ prompt: "a red cube", depth_image: base64, steps: 12, size: "32x32" },
    stream: true,
  });
  const reading = response.text();
  await stopped.stop();
  assert.match(await reading, /^event: error\ndata: .*"code":"stopping"/m);
  assert.doesNotMatch(stopped.log, /"level":"error"/);
});
