import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RemoteRecords } from "../../src/fleet/remote-record.js";
import { clientOf, refusal } from "../support/api-stand.js";

const attempt = { id: "job1", attempt: 2, worker: "a-0123abcd" };
const start = {
  job: {
    ...{ id: "job1", kind: "depth", attempt: 2, request: {}, load: {}, model: "{}" },
    ...{ previewEvery: 0, seed: null, steps: null, step: 0 },
  },
  candidates: [],
};

describe("the records of a worker on another machine", () => {
  test("have nothing to recover of an attempt that never began", async (t) => {
    const asked: string[] = [];
    const client = await clientOf(t, ({ method, url }, response) => {
      asked.push(`${method} ${url}`);
      response.writeHead(403).end(refusal("forbidden"));
    });
    await new RemoteRecords(client, assert.fail).recover(attempt);
    assert.deepEqual(asked, ["POST /internal/jobs/job1/attempts/2/end"]);
  });

  test("upload files that the API has lost again, then end", async (t) => {
    const asked: string[] = [];
    let ends = 0;
    const client = await clientOf(t, ({ method, url }, response) => {
      const what = url!.split("/").at(method === "PUT" ? -2 : -1)!;
      asked.push(`${method} ${what}`);
      if (what === "2") response.end(JSON.stringify({ start }));
      else if (what === "files") response.end('{"standing":"current"}');
      else response.end(JSON.stringify({ end: "ended", missing: ++ends === 1 ? [sha256] : [] }));
    });
    const record = (await new RemoteRecords(client, assert.fail).begin(attempt))!;
    const { sha256, bytes } = await record.keep(Buffer.from("a map"));
    const facts = { name: "depth", mime: "image/png", width: 1, height: 1, seed: null, score: null };
    const artifacts = [{ ...facts, sha256, bytes }];
    assert.equal(await record.end({ state: "succeeded", step: 0, artifacts }), "ended");
    assert.deepEqual(asked, ["POST 2", "PUT files", "POST end", "PUT files", "POST end"]);
  });

  test("stop an attempt that the API gives to another, and do not end it", async (t) => {
    const asked: string[] = [];
    const client = await clientOf(t, ({ url }, response) => {
      const what = url!.split("/").at(-1)!;
      asked.push(what);
      response.end(JSON.stringify(what === "2" ? { start } : { standing: "lost" }));
    });
    const record = (await new RemoteRecords(client, assert.fail).begin(attempt))!;
    record.warned("It gets warm.");
    assert.equal(await record.end({ state: "cancelled" }), "lost");
    assert.equal(record.signal.reason, "lost");
    assert.deepEqual(asked, ["2", "reports"]);
  });

  test("let an attempt go on while nobody can say whose it is", async (t) => {
    let isAway = false;
    const client = await clientOf(t, ({ method }, response) => {
      if (method === "POST") response.end(JSON.stringify({ start }));
      else if (isAway) response.destroy();
      else response.end('{"standing":"lost"}');
    });
    const record = (await new RemoteRecords(client, assert.fail).begin(attempt))!;
    isAway = true;
    assert.equal(await record.isCurrent(), true);
    isAway = false;
    assert.equal(await record.isCurrent(), false);
  });
});
