import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import { PartialBlob } from "../../src/hub/partial-blob.js";
import {
  assertComplete,
  full,
  HubFixture,
  impatient,
  json,
  modelError,
  repository,
  transformerBytes,
  transformerEtag,
} from "../support/hub-fixture.js";
import { type Fault, HubServer } from "../support/hub-server.js";
import { untilWritten } from "../support/waiting.js";

const fixture = new HubFixture();
beforeEach(() => fixture.hub.host(repository, full));

describe("a connection", () => {
  for (const [first, where] of (
    ["before a response", "after its head", "within its body"] as const
  ).entries())
    test(`that is cut ${where} is made again`, async () => {
      await fixture.obtain();
      const requests = fixture.hub.asked.length;
      // Every third request; the other tests take the others.
      for (let nth = first; nth < requests; nth += 3) {
        await fixture.clearHome();
        fixture.hub.forget();
        let count = 0;
        fixture.hub.fault = (_, response) => {
          if (count++ !== nth) return undefined;
          if (where !== "before a response") return { cutAfter: where === "after its head" ? 0 : 10 };
          response.destroy();
          return true;
        };
        assertComplete(await fixture.obtain());
        if (where === "before a response") assert.ok(fixture.hub.asked.length > requests);
      }
    });

  test("that keeps being cut is resumed as long as bytes arrive", async () => {
    fixture.hub.fault = fixture.cutTransformer(50_000, 5);
    assertComplete(await fixture.obtain());
    const ranges = fixture.transformerRanges();
    assert.equal(ranges.length, 6);
    assert.deepEqual(ranges, [undefined, ...[1, 2, 3, 4, 5].map((n) => `bytes=${n * 50_000}-`)]);
  });

  test("that never lasts ends the download; a later one resumes it", async () => {
    const lasting = fixture.cutTransformer(50_000, 1);
    fixture.hub.fault = (asked, response) =>
      lasting(asked, response) ?? (asked.headers.range ? { cutAfter: 0 } : undefined);
    await assert.rejects(
      fixture.obtain(),
      modelError(/someone\/tiny: the download from http.* failed .*4 times in a row; run this again/),
    );
    // There may be others that were being downloaded when it failed.
    assert.ok((await fixture.partialBlobs()).includes(`${transformerEtag}.incomplete`));
    // The snapshot is known to be incomplete.
    const commit = Object.values(fixture.hub.repositories[repository]!.refs)[0]!;
    await assert.rejects(
      fixture.obtain({ revision: commit }, { offline: true }),
      modelError(/is incomplete in .*transformer\/\*\.safetensors.* missing/),
    );
    fixture.hub.forget();
    assertComplete(await fixture.obtain());
    assert.deepEqual(fixture.transformerRanges(), ["bytes=50000-"]);
  });

  test("on which nothing arrives counts as cut", async () => {
    let silent = 2;
    fixture.hub.fault = ({ path }, response) => {
      if (!/vae\/config|\/tree\//.test(path) || silent-- <= 0) return undefined;
      response.writeHead(200).flushHeaders();
      return true;
    };
    assertComplete(await fixture.obtain({}, { patience: { ...impatient, stallMs: 1000 } }));
    assert.ok(silent <= 0);
  });

  test("that cannot be made is reported", async () => {
    const gone = await HubServer.start();
    const env = { ...fixture.environment, HF_ENDPOINT: gone.endpoint };
    await gone[Symbol.asyncDispose]();
    await assert.rejects(
      fixture.obtain({}, { env }),
      modelError(/does not have the complete model.*cannot be reached \(ECONNREFUSED\)/),
    );
  });

  test("ends at once when cancelled, and its bytes are kept", async () => {
    const controller = new AbortController();
    fixture.hub.fault = ({ cdn, path }, response) => {
      if (!cdn || !path.endsWith(transformerEtag)) return undefined;
      response.writeHead(200, { "content-length": "300000" });
      response.write(transformerBytes.subarray(0, 100_000));
      void untilWritten(fixture.partialBlob(transformerEtag), 100_000).then(() =>
        controller.abort(new Error("enough")),
      );
      return true;
    };
    await assert.rejects(fixture.obtain({}, { signal: controller.signal }), { message: "enough" });
    fixture.hub.forget();
    assertComplete(await fixture.obtain());
    assert.deepEqual(fixture.transformerRanges(), ["bytes=100000-"]);
  });
});

/** Answers with a status, `times` times. */
function failing(status: number, headers: Record<string, string>, times: number): Fault {
  let left = times;
  return (_, response) => {
    if (left-- <= 0) return undefined;
    response.writeHead(status, headers).end("busy");
    return true;
  };
}

describe("a server", () => {
  for (const status of [500, 502, 503, 504])
    test(`that answers ${status} is asked again`, async () => {
      fixture.hub.fault = failing(status, {}, 3);
      assertComplete(await fixture.obtain());
    });

  test("that keeps failing is reported", async () => {
    fixture.hub.fault = failing(503, {}, 1000);
    await assert.rejects(fixture.obtain(), modelError(/the server failed \(503\)\), 4 times in a row/));
  });

  for (const [form, headersOf] of [
    ["seconds", () => ({ "retry-after": "1" })],
    // A date has whole seconds.
    ["a date", () => ({ "retry-after": new Date(Date.now() + 2000).toUTCString() })],
    ["the Hub's header", () => ({ ratelimit: '"resolvers";r=0;t=1' })],
  ] as const)
    test(`that is busy is given the time it asks for in ${form}`, async () => {
      fixture.hub.fault = failing(429, headersOf(), 1);
      const began = performance.now();
      assertComplete(await fixture.obtain());
      assert.ok(performance.now() - began >= 1000);
    });

  test("that asks for too long a wait is reported", async () => {
    fixture.hub.fault = failing(429, { "retry-after": "3600" }, 1000);
    await assert.rejects(
      fixture.obtain(),
      modelError(/too many requests\); run this again in 3600 s, or give a token in HF_TOKEN/),
    );
  });

  test("that sends a different range is asked again; one that ignores ranges starts the file over", async () => {
    let times = 0;
    const cut = fixture.cutTransformer(50_000, 1);
    fixture.hub.fault = (asked, response) => {
      const first = cut(asked, response);
      if (first || !asked.cdn || !asked.headers.range) return first;
      const wrong = times++ === 0;
      response.writeHead(wrong ? 206 : 200, wrong ? { "content-range": "bytes 7-299999/300000" } : {});
      response.end(wrong ? transformerBytes.subarray(7) : transformerBytes);
      return true;
    };
    assertComplete(await fixture.obtain());
    assert.equal(times, 2);
  });
});

test("a disk that fails as a file starts over also ends the request, so that nothing keeps this process alive", async () => {
  const cut = fixture.cutTransformer(50_000, 1);
  fixture.hub.fault = (asked, response) => {
    const first = cut(asked, response);
    if (first || !asked.cdn || !asked.headers.range) return first;
    response.writeHead(200).end(transformerBytes);
    return true;
  };
  const failing = mock.method(PartialBlob.prototype, "restart", async () => {
    throw new Error("the disk failed");
  });
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
  try {
    const before = timers();
    await assert.rejects(fixture.obtain(), /the disk failed/);
    assert.ok(timers() <= before, process.getActiveResourcesInfo().join(", "));
  } finally {
    failing.mock.restore();
  }
});

describe("a server that is not a Hub", () => {
  test("is reported if it answers with a web page", async () => {
    fixture.hub.fault = (_, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Welcome</html>");
      return true;
    };
    await assert.rejects(
      fixture.obtain(),
      modelError(/does not answer like the Hugging Face Hub.*HF_ENDPOINT/),
    );
  });

  const entry = { type: "file", oid: "a".repeat(40), size: 1, path: "transformer/config.json" };
  for (const [what, bad] of [
    ["a path out of the repository", { path: "transformer/../../../../evil.json" }],
    ["a hash that is a path", { oid: "../../evil" }],
    ["a negative size", { size: -1 }],
    ["a path that is a list", { path: ["transformer/config.json"] }],
    ["a hash that is no text", { oid: ["a".repeat(40)] }],
    ["a size in LFS that is no number", { lfs: { oid: "a".repeat(64), size: "1" } }],
  ] as const)
    test(`is reported if it lists ${what}`, async () => {
      fixture.hub.fault = ({ path }, response) => {
        if (!path.includes("/tree/")) return undefined;
        response.writeHead(200, { "content-type": "application/json" }).end(json([{ ...entry, ...bad }]));
        return true;
      };
      await assert.rejects(fixture.obtain(), modelError(/does not answer like the Hugging Face Hub/));
    });
});
