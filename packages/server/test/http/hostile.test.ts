import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import sharp from "sharp";
import { connection, raw, readAll } from "../support/raw.js";
import { errorOf, jobBody, TestServer } from "../support/server.js";

const server = await TestServer.start();
const statusIn = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

/** Runs, and requires an answer within a second. */
async function withinASecond<T>(run: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await run();
  const ms = performance.now() - began;
  assert.ok(ms < 1000, `${Math.round(ms)} ms`);
  return result;
}

/** Resident memory of the server's process, in bytes. */
const memory = async (): Promise<number> => {
  const { readFile } = await import("node:fs/promises");
  const status = await readFile(`/proc/${server.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
};

describe("an id that looks like a path", () => {
  const ids = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/x",
    "..\\..\\x",
    "%00",
    "a%00b",
    "con",
    "%",
    "%zz",
    "x".repeat(5000),
    "sha256-../../x",
  ];
  for (const route of [
    "/v1/jobs/ID",
    "/v1/jobs/ID/image",
    "/v1/jobs/x/images/ID",
    "/v1/blobs/ID",
    "/v1/blobs/ID/map",
    "/v1/models/ID",
    "/v1/workers/ID",
    "/ID",
    "/assets/ID",
  ])
    test(`in ${route} gets a 4xx error object`, async () => {
      for (const id of ids) {
        const path = route.replace("ID", id);
        const { status, body } = await withinASecond(() => raw(server, { path }));
        assert.ok(status >= 400 && status < 500, `${status} for ${path}`);
        assert.equal(typeof JSON.parse(body).error.code, "string", path);
        assert.doesNotMatch(body, /root:|\/tmp\//);
      }
    });
});

describe("bytes that are not a request", () => {
  for (const [what, bytes, status] of [
    ["noise", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400],
    ["a header without a colon", "GET / HTTP/1.1\r\nbad header\r\n\r\n", 400],
    [
      "two lengths",
      "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      400,
    ],
    [
      "a length and chunks",
      "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["headers of 100 kB", `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(100_000)}\r\n\r\n`, 431],
    ["no Host", "GET /v1/queue HTTP/1.1\r\nConnection: close\r\n\r\n", 403],
    ["an empty Host", "GET /v1/queue HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 403],
  ] as const)
    test(`${what} get ${status} with an error object`, async () => {
      const socket = await connection(server);
      socket.write(bytes);
      const answer = await withinASecond(() => readAll(socket));
      assert.equal(statusIn(answer), status, answer);
      assert.equal(typeof JSON.parse(answer.slice(answer.indexOf("{"))).error.code, "string");
    });
});

// The first two wait for time limits.
describe("a connection", { concurrency: 3 }, () => {
  test("that sends nothing is closed after a while, and others are served meanwhile", async () => {
    const sockets = await Promise.all(Array.from({ length: 200 }, () => connection(server)));
    for (const socket of sockets) socket.write("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n");
    await withinASecond(() => raw(server));
    const answer = await readAll(sockets[0]!);
    assert.equal(statusIn(answer), 408, answer);
    for (const socket of sockets) socket.destroy();
  });

  test("whose body stops arriving gets 408", async () => {
    const socket = await connection(server);
    socket.write(
      'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"kind":',
    );
    const answer = await readAll(socket);
    assert.equal(statusIn(answer), 408, answer);
  });

  test("that closes in the middle of an upload leaves nothing", async () => {
    const files = () => readdirSync(join(server.data), { recursive: true }).length;
    const before = files();
    const socket = await connection(server);
    const [head] = [
      await sharp({ create: { width: 64, height: 64, channels: 3, background: "red" } })
        .png()
        .toBuffer(),
    ];
    socket.write("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    socket.write(head);
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await once(socket, "close");
    for (const deadline = Date.now() + 5000; files() !== before && Date.now() < deadline; )
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(files(), before);
  });
});

describe("a large body", () => {
  test("is refused by its announced length, before it arrives", async () => {
    for (const [path, length] of [
      ["/v1/jobs", 97 * 2 ** 20],
      ["/v1/blobs", 65 * 2 ** 20],
      ["/v1/depth", 65 * 2 ** 20],
      ["/v1/session", 20_000],
    ] as const) {
      const socket = await connection(server);
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`,
      );
      const [data] = await withinASecond(() => once(socket, "data"));
      assert.equal(statusIn(String(data)), 413, path);
      socket.destroy();
    }
  });

  test("of brackets costs little memory", { skip: process.platform !== "linux" }, async () => {
    const before = await memory();
    const body = `{"kind":"generate","request":${"[".repeat(50 * 2 ** 20)}`;
    const { status } = await raw(server, {
      method: "POST",
      path: "/v1/jobs",
      headers: { "content-type": "application/json" },
      body,
    });
    assert.equal(status, 400);
    assert.ok((await memory()) - before < 400e6, `${(await memory()) - before}`);
  });

  test("of a form with nine files is refused", async () => {
    const form = new FormData();
    form.set("job", JSON.stringify(jobBody()));
    for (let i = 0; i < 9; i++) form.append(`image${i}`, new Blob(["x"]), "x.png");
    const response = await server.fetch("/v1/jobs", { method: "POST", body: form });
    assert.ok([400, 413].includes((await errorOf(response)).status));
  });
});

test("after all of that, the server still makes pictures", async () => {
  const job = await server.submit({}, "/v1/jobs?wait=60");
  assert.equal(job.state, "succeeded");
  assert.doesNotMatch(server.log, /"status":5\d\d/);
});
