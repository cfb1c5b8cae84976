import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import type { Patience } from "../../src/hub/retry.js";
import type { DownloadProgress } from "../../src/hub/transfer.js";
import {
  assertComplete,
  full,
  HubFixture,
  modelError,
  repository,
  transformerBytes,
  transformerEtag,
} from "../support/hub-fixture.js";

const fixture = new HubFixture();
beforeEach(() => fixture.hub.host(repository, full));

/** Waits as usual, two hundred times as fast. */
const patience: Patience = { retries: 5, delayMs: 1, stallMs: 300, answerMs: 600, slowMs: 600, reportMs: 50 };

/** Downloads, and returns the reported reasons for waiting. */
async function waitsOf(changes: Partial<Patience> = {}): Promise<string[]> {
  const waits: string[] = [];
  const onProgress = ({ waiting }: DownloadProgress): void => {
    if (waiting) waits.push(waiting.for);
  };
  assertComplete(await fixture.obtain({}, { patience: { ...patience, ...changes }, onProgress }));
  return waits;
}

/** Writes as fast as the client reads, without end. */
function writeForever(response: ServerResponse, chunk = Buffer.alloc(2 ** 20, " ")): true {
  const fill = (): void => {
    while (!response.destroyed && response.write(chunk));
    response.once("drain", fill);
  };
  fill();
  return true;
}

describe("a Hub that accepts connections and never answers", () => {
  test("is reported after three attempts", async () => {
    fixture.hub.fault = () => true;
    await assert.rejects(
      fixture.obtain({}, { patience }),
      modelError(
        /someone\/tiny: http\S+ accepts connections but has not answered for 0 s, 3 times in a row; check the connection/,
      ),
    );
    // A busy Hub may not have heard of an attempt before it ends.
    assert.ok(fixture.hub.asked.length <= 3, `asked ${fixture.hub.asked.length} times`);
  });

  test("is named while it is waited for", async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => void sockets.add(socket)).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const endpoint = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const events: DownloadProgress[] = [];
    await assert.rejects(
      fixture.obtain(
        {},
        {
          patience,
          env: { ...fixture.environment, HF_ENDPOINT: endpoint },
          onProgress: (event) => events.push(event),
        },
      ),
      modelError(/has not answered/),
    );
    for (const socket of sockets) socket.destroy();
    mute.close();
    const waits = events.flatMap(({ waiting }) => waiting ?? []);
    assert.ok(
      waits.some(({ for: what, seconds }) => what === `an answer from ${endpoint}` && seconds > 0.04),
    );
  });
});

describe("a Hub that answers without end", () => {
  for (const [what, status] of [
    ["its listing", 200],
    ["an error", 404],
  ] as const)
    test(`in ${what} is refused`, async () => {
      fixture.hub.fault = (_, response) => writeForever(response.writeHead(status));
      await assert.rejects(
        fixture.obtain({}, { patience: { ...patience, answerMs: 20_000 } }),
        modelError(status === 200 ? /does not answer like.*longer than 33\.6 MB/ : /no such repository/),
      );
    });

  test("a byte at a time is refused", async () => {
    fixture.hub.fault = (_, response) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write(" "), 20);
      response.once("close", () => clearInterval(drip));
      return true;
    };
    await assert.rejects(fixture.obtain({}, { patience }), modelError(/was not complete after 1 s, 3 times/));
  });

  test("in pages is refused", async () => {
    fixture.hub.fault = ({ path }, response) => {
      if (!path.includes("/tree/")) return undefined;
      const next = `${fixture.hub.endpoint}/api/models/${repository}/tree/main?cursor=again`;
      response
        .writeHead(200, { "content-type": "application/json", link: `<${next}>; rel="next"` })
        .end("[]");
      return true;
    };
    await assert.rejects(fixture.obtain({}, { patience }), modelError(/more than 1000 pages/));
  });

  test("in a redirect is followed", async () => {
    fixture.hub.fault = ({ path, cdn }, response) => {
      if (cdn || !path.endsWith("diffusion_pytorch_model.safetensors") || !path.includes("/transformer/"))
        return undefined;
      const location = `${fixture.hub.endpoint}/elsewhere`;
      return writeForever(response.writeHead(302, { location }));
    };
    const elsewhere = fixture.hub.fault;
    fixture.hub.fault = (asked, response) => {
      if (asked.path !== "/elsewhere") return elsewhere(asked, response);
      response.writeHead(200).end(transformerBytes);
      return true;
    };
    assertComplete(await fixture.obtain({}, { patience }));
  });
});

test("a file that arrives a byte at a time is given up after three attempts", async () => {
  let asked = 0;
  fixture.hub.fault = ({ cdn, path }, response) => {
    if (!cdn || !path.endsWith(transformerEtag)) return undefined;
    asked++;
    response.writeHead(200, { "content-length": `${transformerBytes.length}` });
    const drip = setInterval(() => response.write("x"), 20);
    response.once("close", () => clearInterval(drip));
    return true;
  };
  await assert.rejects(
    fixture.obtain({}, { patience: { ...patience, stallMs: 60_000 } }),
    modelError(/only \d+ bytes arrived in 1 s/),
  );
  assert.equal(asked, 3);
});

describe("a download says that it waits", () => {
  test("for more of a file", async () => {
    let stalled = false;
    fixture.hub.fault = ({ cdn, path }, response) => {
      if (!cdn || !path.endsWith(transformerEtag) || stalled) return undefined;
      stalled = true;
      response.writeHead(200, { "content-length": "300000" });
      response.write(transformerBytes.subarray(0, 1000));
      return true;
    };
    assert.ok((await waitsOf()).some((what) => /^more data from http:/.test(what)));
  });

  test("for the next attempt", async () => {
    let busy = true;
    fixture.hub.fault = (_, response) => {
      if (!busy) return undefined;
      busy = false;
      response.writeHead(429, { "retry-after": "1" }).end();
      return true;
    };
    assert.ok((await waitsOf()).includes("the next attempt (too many requests)"));
  });

  test("for another process", {
    skip: process.platform === "linux" ? false : "locks with the flock tool of Linux",
  }, async () => {
    const locks = join(fixture.home, "hub", ".locks", `models--${repository.replace("/", "--")}`);
    await mkdir(locks, { recursive: true });
    const path = join(locks, `${transformerEtag}.lock`);
    const holder = spawn("flock", [path, "sh", "-c", "echo locked; sleep 1"]);
    await once(holder.stdout, "data");
    assert.ok((await waitsOf()).some((what) => what.startsWith(`another process`) && what.includes(path)));
  });
});
