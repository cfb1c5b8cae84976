import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clientOf, refusal } from "../support/api-stand.js";

const get = { method: "GET", path: "/somewhere" } as const;

describe("a worker's connection to the API", () => {
  test("sends the token, the version and the name of the process", async (t) => {
    const client = await clientOf(t, ({ url, headers }, response) => {
      response.end(JSON.stringify({ url, headers }));
    });
    const { url, headers } = await client.ask<{ url: string; headers: Record<string, string> }>(get);
    assert.equal(url, "/internal/somewhere");
    assert.equal(headers.authorization, "Bearer secret");
    assert.equal(headers["x-mflux-depth-protocol"], "1");
    assert.equal(headers["x-mflux-depth-process"], "0123abcd");
  });

  test("asks until the API, and whatever is in front of it, has an answer", async (t) => {
    let asked = 0;
    const client = await clientOf(t, (_request, response) => {
      asked++;
      if (asked === 1) response.destroy();
      else if (asked === 2) response.writeHead(502).end("<html>a proxy</html>");
      else if (asked === 3) response.writeHead(503).end(refusal("stopping"));
      else response.end('{"standing":"current"}');
    });
    assert.deepEqual(await client.untilAnswered(() => client.ask(get)), { standing: "current" });
    assert.equal(asked, 4);
  });

  test("does not ask again when it is refused, or when the API's disk is full", async (t) => {
    for (const [status, code, name] of [
      [401, "invalid_token", "ApiRefusal"],
      [426, "protocol_mismatch", "ApiRefusal"],
      [507, "disk_full", "ServiceError"],
    ] as const) {
      let asked = 0;
      const client = await clientOf(t, (_request, response) => {
        asked++;
        response.writeHead(status).end(refusal(code));
      });
      await assert.rejects(
        client.untilAnswered(() => client.ask(get)),
        { name, code, message: `It is ${code}.` },
      );
      assert.equal(asked, 1);
    }
  });

  test("ends with the signal of an attempt, with its reason", async (t) => {
    const attempt = new AbortController();
    const client = await clientOf(t, () => attempt.abort("lost"));
    const asking = client.untilAnswered(() => client.ask(get, attempt.signal), attempt.signal);
    await assert.rejects(asking, (reason) => reason === "lost");
  });

  test("gives up when the worker stops, whatever it waits for", async (t) => {
    const silent = await clientOf(t, () => silent.giveUpIn(1));
    await assert.rejects(
      silent.untilAnswered(() => silent.ask(get)),
      { name: "ApiAway" },
    );
    await assert.rejects(silent.ask(get), { message: "The API was away when the worker stopped." });
  });
});
