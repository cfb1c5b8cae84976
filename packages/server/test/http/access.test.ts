import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type RawRequest, raw } from "../support/raw.js";
import { Scope } from "../support/scope.js";
import { TestServer, temporaryFolder } from "../support/server.js";

const token = "correct-horse-battery-staple";
const open = await TestServer.start();
const tokenFile = join(temporaryFolder(), "token");
await writeFile(tokenFile, `${token}\n`);
const guarded = await TestServer.start({
  argv: ["--token-file", tokenFile, "--allow-host", "depth.example"],
});

const codeOf = ({ body }: { body: string }): string => JSON.parse(body).error.code;

describe("without a token", () => {
  for (const host of ["localhost", "127.0.0.1", "[::1]", "127.1.2.3", "localhost:1234"])
    test(`the host ${host} is served`, async () =>
      assert.equal((await raw(open, { headers: { host } })).status, 200));

  for (const host of [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "depth.example",
    "a b",
    "10.0.0.1",
  ])
    test(`the host ${JSON.stringify(host)} is refused`, async () => {
      const answer = await raw(open, { headers: { host } });
      assert.deepEqual([answer.status, codeOf(answer)], [403, "forbidden_host"]);
      assert.equal(answer.headers["x-should-retry"], "false");
    });

  test("probes answer to any host", async () => {
    for (const path of ["/livez", "/readyz"])
      assert.equal((await raw(open, { path, headers: { host: "10.0.0.1" } })).status, 200);
  });

  const own = `127.0.0.1:${open.port}`;
  const cases: [what: string, headers: RawRequest["headers"], status: number][] = [
    ["the same origin", { host: own, origin: `http://${own}` }, 200],
    ["another port", { host: own, origin: "http://127.0.0.1:1" }, 403],
    ["another scheme", { host: own, origin: `https://${own}` }, 403],
    ["another name for the same machine", { host: own, origin: `http://localhost:${open.port}` }, 403],
    ["another site", { host: own, origin: "https://evil.example" }, 403],
    ["the origin null", { host: own, origin: "null" }, 403],
    ["fetches of the same origin", { host: own, "sec-fetch-site": "same-origin" }, 200],
    ["the address bar", { host: own, "sec-fetch-site": "none" }, 200],
    ["fetches of another site", { host: own, "sec-fetch-site": "cross-site" }, 403],
    ["fetches of the same site", { host: own, "sec-fetch-site": "same-site" }, 403],
    [
      "links to the interface",
      { host: own, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" },
      403,
    ],
  ];
  for (const [what, headers = {}, status] of cases)
    test(`requests from ${what} get ${status}`, async () => {
      const answer = await raw(open, { headers });
      assert.equal(answer.status, status);
      if (status === 403) assert.equal(codeOf(answer), "forbidden_origin");
    });

  test("a form of another site gets 403 like JSON", async () => {
    const headers = { origin: "https://evil.example", "content-type": "multipart/form-data; boundary=b" };
    const answer = await raw(open, { method: "POST", path: "/v1/jobs", headers, body: "--b--" });
    assert.equal(codeOf(answer), "forbidden_origin");
  });

  test("a link to the studio's page may be followed", async () => {
    const headers = { host: own, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
    assert.notEqual((await raw(open, { path: "/", headers })).status, 403);
  });
});

describe("with a token", () => {
  const get = (headers: RawRequest["headers"] = {}, path = "/v1/queue") => raw(guarded, { path, headers });

  for (const path of [
    "/v1/queue",
    "/v1/jobs",
    "/v1/events",
    "/openapi.json",
    "/metrics",
    "/v1/none",
    "/v1/images/generations",
  ])
    test(`${path} needs it`, async () => {
      const answer = await get({}, path);
      assert.deepEqual([answer.status, codeOf(answer)], [401, "missing_token"]);
      assert.equal(answer.headers["www-authenticate"], "Bearer");
    });

  for (const path of ["/livez", "/readyz", "/"])
    test(`${path} does not`, async () => assert.notEqual((await get({}, path)).status, 401));

  test("it is accepted", async () =>
    assert.equal((await get({ authorization: `Bearer ${token}` })).status, 200));

  for (const authorization of ["Bearer wrong", "Bearer", `Basic ${token}`, token, `Bearer ${token} x`])
    test(`${JSON.stringify(authorization)} is not`, async () =>
      assert.equal((await get({ authorization })).status, 401));

  test("the host of a proxy is served over TLS", async () => {
    const headers = {
      host: "depth.example",
      origin: "https://depth.example",
      "x-forwarded-proto": "https",
      authorization: `Bearer ${token}`,
    };
    assert.equal((await get(headers)).status, 200);
    assert.equal((await get({ ...headers, origin: "http://depth.example" })).status, 403);
  });

  describe("a session", () => {
    const post = (body: object, headers: RawRequest["headers"] = {}) =>
      raw(guarded, {
        method: "POST",
        path: "/v1/session",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
      });
    const cookieOf = ({ headers }: Awaited<ReturnType<typeof raw>>): string => headers["set-cookie"]![0]!;

    test("is a cookie that pages cannot read and other sites cannot use", async () => {
      const answer = await post({ token });
      const cookie = cookieOf(answer);
      assert.equal(answer.status, 204);
      assert.match(cookie, new RegExp(`^mflux_depth_session_${guarded.port}=`));
      assert.match(cookie, /; Max-Age=2592000; Path=\/; HttpOnly; SameSite=Strict$/);
      assert.doesNotMatch(cookie, new RegExp(token));
    });

    test("is restricted to TLS behind a proxy with TLS", async () => {
      const answer = await post({ token }, { host: "depth.example", "x-forwarded-proto": "https" });
      assert.match(cookieOf(answer), /; Secure/);
    });

    test("stands for the token, after a restart too", async () => {
      const first = await TestServer.start({ env: { MFLUX_DEPTH_TOKEN: token } });
      const answer = await raw(first, {
        method: "POST",
        path: "/v1/session",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
      });
      const [, value] = /=([^;]+)/.exec(cookieOf(answer))!;
      const has = async (server: TestServer): Promise<number> =>
        (await raw(server, { headers: { cookie: `mflux_depth_session_${server.port}=${value}` } })).status;
      assert.equal(await has(first), 200);
      await first.stop();
      const second = await TestServer.start({ env: { MFLUX_DEPTH_TOKEN: token }, data: first.data });
      assert.equal(await has(second), 200);
      await second.stop();
      const third = await TestServer.start({ env: { MFLUX_DEPTH_TOKEN: "another" }, data: first.data });
      assert.equal(await has(third), 401);
    });

    test("is not given for a wrong token", async () =>
      assert.equal((await post({ token: "wrong" })).status, 401));

    test("cannot be made up", async () => {
      const cookie = `mflux_depth_session_${guarded.port}=9999999999.AAAA.BBBB`;
      assert.equal((await get({ cookie })).status, 401);
    });

    test("obeys the rules of origins", async () =>
      assert.equal((await post({ token }, { origin: "https://evil.example" })).status, 403));
  });
});

describe("guessing", () => {
  const owner = new Scope("guessed at");
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({ owner, env: { MFLUX_DEPTH_TOKEN: token } });
  });
  after(() => owner.end());

  test("behind a proxy on this machine does not slow down others", async () => {
    const ask = (caller: string, bearer: string) =>
      raw(server, { headers: { authorization: `Bearer ${bearer}`, "x-forwarded-for": caller } });
    for (let i = 0; i < 40; i++) await ask("192.0.2.1", "guess");
    assert.equal((await ask("192.0.2.1", token)).status, 429);
    assert.equal((await ask("192.0.2.2", token)).status, 200);
  });

  test("is slowed down, and sessions continue", async () => {
    const session = await server.send("POST", "/v1/session", { token });
    const cookie = session.headers.get("set-cookie")!.split(";")[0]!;
    const guess = () => raw(server, { headers: { authorization: "Bearer guess" } });
    const answers = [];
    for (let i = 0; i < 40; i++) answers.push(await guess());
    assert.equal(answers[0]!.status, 401);
    const last = answers.at(-1)!;
    assert.deepEqual([last.status, codeOf(last)], [429, "rate_limited"]);
    assert.ok(Number(last.headers["retry-after"]) > 0);
    assert.equal((await raw(server, { headers: { cookie } })).status, 200);
  });
});

test("every answer has the headers that protect browsers", async () => {
  for (const path of ["/v1/queue", "/v1/none", "/livez", "/", "/v1/jobs?x=1"]) {
    const { headers } = await raw(open, { path });
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.equal(headers["referrer-policy"], "no-referrer", path);
    assert.doesNotMatch(String(headers["content-security-policy"]), /unsafe-inline/);
    assert.equal(headers["access-control-allow-origin"], undefined);
  }
});

test("the log has neither tokens nor queries nor prompts", async () => {
  await raw(guarded, { path: "/v1/jobs?q=secret-word", headers: { authorization: `Bearer ${token}` } });
  await raw(guarded, { headers: { authorization: "Bearer wrong-token" } });
  assert.match(guarded.log, /"path":"\/v1\/jobs"/);
  assert.doesNotMatch(guarded.log, new RegExp(`${token}|secret-word|wrong-token`));
});
