import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { depthMap } from "../support/pictures.js";
import { errorOf, gone, type JobChanges, jobBody, photo, TestServer } from "../support/server.js";

const server = await TestServer.start({ argv: ["--max-queue", "2"] });

describe("a job is refused, with the field's name, for", () => {
  const long = "x".repeat(10_000);
  const cases: [what: string, changes: JobChanges, param: string, code: string, message: RegExp][] = [
    ["an unknown field", { color: 1 }, "color", "unknown_field", /no field color/],
    [
      "an unknown option",
      { request: { stepz: 3 } },
      "request.stepz",
      "unknown_field",
      /did you mean request\.steps\?/,
    ],
    [
      "a number out of range",
      { request: { steps: 51 } },
      "request.steps",
      "out_of_range",
      /from 1 to 50, not 51/,
    ],
    [
      "a number as text",
      { request: { steps: "5" } },
      "request.steps",
      "invalid_type",
      /a whole number.*not "5"/,
    ],
    ["a broken number", { request: { width: 128.5 } }, "request.width", "invalid_type", /a whole number/],
    ["a blank prompt", { request: { prompt: " " } }, "request.prompt", "invalid_value", /must not be blank/],
    [
      "a prompt of 10,000 characters",
      { request: { prompt: long } },
      "request.prompt",
      "too_long",
      /4000 characters/,
    ],
    ["a missing prompt", { request: { prompt: undefined } }, "request.prompt", "missing", /is missing/],
    [
      "no picture",
      { request: { depth_image: null } },
      "request.depth_image",
      "missing",
      /neither a depth map nor a photo/,
    ],
    [
      "a path as picture",
      { request: { depth_image: "/etc/passwd" } },
      "request.depth_image",
      "invalid_value",
      /data URL/,
    ],
    [
      "a URL as picture",
      { request: { image: { url: "http://a.example/x.png" } } },
      "request.image",
      "invalid_value",
      /\{ blob \}/,
    ],
    [
      "a blob that is unknown",
      { request: { image: { blob: `sha256-${"0".repeat(64)}` } } },
      "request.image",
      "invalid_image",
      /./,
    ],
    [
      "what is not base64",
      { request: { depth_image: { base64: "@@@@" } } },
      "request.depth_image",
      "invalid_image",
      /not base64/,
    ],
    [
      "base64 of no picture",
      { request: { depth_image: { base64: "AAAA" } } },
      "request.depth_image",
      "invalid_image",
      /./,
    ],
    ["an unknown kind", { kind: "video" }, "kind", "invalid_value", /generate, depth/],
    [
      "a number of bits that there is not",
      { load: { quantize: 7 } },
      "load.quantize",
      "invalid_value",
      /3, 4, 5, 6, 8/,
    ],
    [
      "an option of the server's own",
      { load: { device: "cpu" } },
      "load.device",
      "unknown_field",
      /no field load\.device/,
    ],
    [
      "more previews than steps",
      { preview_every: 3 },
      "preview_every",
      "out_of_range",
      /at most the number of steps, 2/,
    ],
    ["a priority out of range", { priority: 101 }, "priority", "out_of_range", /-100 to 100/],
    ["metadata that is not text", { metadata: { a: 1 } }, "metadata.a", "invalid_type", /a text/],
    ["long metadata", { metadata: { a: long } }, "metadata.a", "too_long", /512/],
    [
      "options that contradict each other",
      { request: { image_strength: 0.5 } },
      "request.image_strength",
      "option_conflict",
      /no photo/,
    ],
  ];
  for (const [what, changes, param, code, message] of cases)
    test(what, async () => {
      const { status, headers, error } = await errorOf(
        await server.send("POST", "/v1/jobs", jobBody(changes)),
      );
      assert.deepEqual([status, error.param, error.code], [400, param, code], error.message);
      assert.match(error.message, message);
      assert.equal(error.type, "invalid_request_error");
      assert.equal(headers.get("x-should-retry"), "false");
    });

  test("more metadata than 16 texts", async () => {
    const metadata = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"]));
    const { status, error } = await errorOf(await server.send("POST", "/v1/jobs", jobBody({ metadata })));
    assert.deepEqual([status, error.param], [400, "metadata"]);
  });

  test("a model that this server does not offer, with 404", async () => {
    const body = jobBody({ load: { model: "someone/else" } });
    const { status, error } = await errorOf(await server.send("POST", "/v1/jobs", body));
    assert.deepEqual([status, error.code, error.param], [404, "model_not_found", "load.model"]);
  });
});

describe("a body is refused when it", () => {
  const post = (body: string, type = "application/json") =>
    server.fetch("/v1/jobs", { method: "POST", body, headers: { "content-type": type } });

  for (const [what, body, code] of [
    ["is not JSON", "{bad", "malformed_json"],
    ["is empty", "", "invalid_type"],
    ["is a list", "[]", "invalid_type"],
    ["names a prototype", '{"__proto__": {}}', "unknown_field"],
    ["is nested a million levels deep", "[".repeat(1e6), "too_deep"],
    ["has a million values", `[${"0,".repeat(1e6)}0]`, "too_many_values"],
  ] as const)
    test(what, async () => {
      const { status, error } = await errorOf(await post(body));
      assert.deepEqual([status, error.code], [400, code]);
    });

  test("has another type than JSON or a form", async () => {
    const { status, error } = await errorOf(await post("a=1", "application/x-www-form-urlencoded"));
    assert.deepEqual([status, error.code], [415, "unsupported_media_type"]);
  });

  test("is compressed", async () => {
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const body = gzipSync(JSON.stringify(jobBody()));
    const { status, error } = await errorOf(
      await server.fetch("/v1/jobs", { method: "POST", body, headers }),
    );
    assert.deepEqual([status, error.code], [415, "unsupported_media_type"]);
  });

  for (const path of ["/v1/blobs", "/v1/depth"])
    test(`is JSON instead of a picture: ${path}`, async () => {
      const { status, error } = await errorOf(await server.send("POST", path, { image: "AAAA" }));
      assert.deepEqual([status, error.code], [415, "unsupported_image"]);
      assert.match(error.message, /the picture's file itself, not JSON or a form/);
    });

  test("is a form instead of a picture", async () => {
    const body = new FormData();
    body.set("image", new Blob([photo]), "photo.png");
    const { status } = await errorOf(await server.fetch("/v1/blobs", { method: "POST", body }));
    assert.equal(status, 415);
  });

  test("announces more than 96 MiB of JSON, before it is sent", async () => {
    const response = await server.fetch("/v1/jobs", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: new Blob([new Uint8Array(97 * 2 ** 20)]),
    });
    const { status, error } = await errorOf(response);
    assert.deepEqual([status, error.code], [413, "too_large"]);
  });
});

test("an empty body counts as none, whatever type it names", async () => {
  for (const type of ["application/x-www-form-urlencoded", "application/json"]) {
    const answer = await server.fetch("/v1/queue/resume", {
      method: "POST",
      headers: { "content-type": type },
      body: "",
    });
    assert.equal(answer.status, 200);
  }
});

test("a body with a field is refused where there is none to send", async () => {
  for (const path of ["/v1/jobs/none/cancel", "/v1/jobs/none/retry", "/v1/queue/pause"]) {
    const { status, error } = await errorOf(await server.send("POST", path, { a: 1 }));
    assert.deepEqual([status, error.code, error.param], [400, "unknown_field", "a"], path);
  }
  assert.equal((await server.send("POST", "/v1/queue/resume", {})).status, 200);
});

describe("a form is refused when it", () => {
  const post = (parts: Readonly<Record<string, string | Blob>>) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(parts)) form.append(name, value);
    return server.fetch("/v1/jobs", { method: "POST", body: form });
  };

  test("has no part job", async () => {
    const { status, error } = await errorOf(await post({}));
    assert.deepEqual([status, error.param], [400, "job"]);
  });

  test("has a file that is not a picture", async () => {
    const { status, error } = await errorOf(
      await post({ job: "{}", image: new Blob([new Uint8Array(100)]) }),
    );
    assert.deepEqual([status, error.param, error.code], [400, "image", "invalid_image"]);
  });

  test("has an unknown part", async () => {
    const { status, error } = await errorOf(await post({ job: "{}", other: "x" }));
    assert.deepEqual([status, error.param], [400, "other"]);
  });

  test("has a part job that is not JSON", async () => {
    const { status, error } = await errorOf(await post({ job: "{bad" }));
    assert.deepEqual([status, error.code, error.param], [400, "malformed_json", "job"]);
    assert.equal(error.message, "The part job is not JSON.");
  });

  test("gives a picture twice", async () => {
    const { status, error } = await errorOf(
      await post({ job: JSON.stringify(jobBody()), depth_image: new Blob([depthMap]) }),
    );
    assert.deepEqual([status, error.param], [400, "request.depth_image"]);
  });

  test("ends early", async () => {
    const response = await server.fetch("/v1/jobs", {
      method: "POST",
      headers: { "content-type": "multipart/form-data; boundary=b" },
      body: '--b\r\ncontent-disposition: form-data; name="job"\r\n\r\n{}',
    });
    const { status, error } = await errorOf(response);
    assert.deepEqual([status, error.code], [400, "malformed_form"]);
  });
});

describe("a query is refused for", () => {
  for (const [path, param, code] of [
    ["/v1/jobs?limit=0", "limit", "out_of_range"],
    ["/v1/jobs?limit=many", "limit", "invalid_type"],
    ["/v1/jobs?state=broken", "state", "invalid_value"],
    ["/v1/jobs?state=queued&state=broken", "state", "invalid_value"],
    ["/v1/jobs?starred=maybe", "starred", "invalid_type"],
    ["/v1/jobs?sort=age", "sort", "unknown_parameter"],
    ["/v1/jobs?cursor=nonsense", "cursor", "invalid_cursor"],
    ["/v1/queue?x=1", "x", "unknown_parameter"],
    ["/v1/jobs/x/image?format=bmp", "format", "invalid_value"],
    ["/v1/jobs/x/image?width=0", "width", "out_of_range"],
    ["/v1/jobs/x/depth?format=exr", "format", "invalid_value"],
    ["/v1/jobs/x/events?after=-1", "after", "invalid_value"],
    ["/v1/events?after=abc", "after", "invalid_value"],
  ] as const)
    test(path, async () => {
      const { status, error } = await errorOf(await server.fetch(path));
      assert.deepEqual([status, error.param, error.code], [400, param, code], error.message);
    });

  test("a wait of more than 300 seconds", async () => {
    const { status, error } = await errorOf(await server.send("POST", "/v1/jobs?wait=301", jobBody()));
    assert.deepEqual([status, error.param], [400, "wait"]);
  });
});

describe("there is no", () => {
  for (const path of [
    "/v1/nothing",
    "/v1/jobs/none",
    "/v1/jobs/none/events",
    "/v1/jobs/none/image",
    "/v1/jobs/none/images/1",
    "/v1/jobs/none/previews/1",
    "/v1/jobs/none/depth",
    `/v1/blobs/sha256-${"0".repeat(64)}`,
    `/v1/blobs/sha256-${"0".repeat(64)}/map`,
    "/v1/models/some%2Fother",
  ])
    test(path, async () => {
      const { status, error } = await errorOf(await server.fetch(path));
      assert.equal(status, 404);
      assert.match(error.code, /^(not_found|model_not_found)$/);
    });

  for (const path of [
    "/v1/jobs/none/cancel",
    "/v1/jobs/none/retry",
    "/v1/workers/none/drain",
    "/v1/workers/none/resume",
  ])
    test(`POST ${path}`, async () =>
      assert.equal((await errorOf(await server.fetch(path, { method: "POST" }))).status, 404));
});

describe("a method that a path does not have", () => {
  for (const [method, path, allow] of [
    ["PUT", "/v1/jobs", "GET, HEAD, POST"],
    ["POST", "/v1/jobs/some-id", "DELETE, GET, HEAD, PATCH"],
    ["GET", "/v1/jobs/some-id/cancel", "POST"],
    ["OPTIONS", "/v1/queue", "GET, HEAD"],
    ["DELETE", "/v1/models/a/b", "GET, HEAD"],
  ] as const)
    test(`${method} ${path}`, async () => {
      const { status, headers, error } = await errorOf(await server.fetch(path, { method }));
      assert.deepEqual([status, headers.get("allow"), error.code], [405, allow, "method_not_allowed"]);
    });
});

test("a refused form leaves no picture behind", async () => {
  const unseen = await sharp(photo).flop().png().toBuffer();
  const form = new FormData();
  form.set("image", new Blob([unseen]), "photo.png");
  form.set("job", JSON.stringify({ kind: "generate", request: { prompt: "x", steps: -1 } }));
  assert.equal((await server.fetch("/v1/jobs", { method: "POST", body: form })).status, 400);
  await gone(server, unseen);
});

test("previews of a depth map are refused with the only possible value", async () => {
  const body = { kind: "depth", request: { image: { blob: `sha256-${"0".repeat(64)}` } }, preview_every: 1 };
  const { error } = await errorOf(await server.send("POST", "/v1/jobs", body));
  assert.equal(error.message, "preview_every must be 0, not 1.");
});

test("a full queue answers 429 and when to try again", async () => {
  await server.fetch("/v1/queue/pause", { method: "POST" });
  const jobs = [await server.submit(), await server.submit()];
  const { status, headers, error } = await errorOf(await server.send("POST", "/v1/jobs", jobBody()));
  assert.deepEqual([status, error.code, error.type], [429, "queue_full", "rate_limit_error"]);
  assert.ok(Number(headers.get("retry-after")) >= 1);
  assert.equal(headers.get("x-should-retry"), null);
  for (const { id } of jobs) await server.fetch(`/v1/jobs/${id}/cancel`, { method: "POST" });
  await server.fetch("/v1/queue/resume", { method: "POST" });
});
