import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { map } from "../support/connected.js";
import { type Data, execution, type Pending, SocketHost, startWorker } from "../support/host.js";
import { goodToken, startHub, tiny } from "../support/hub.js";

const { hub, home, environment, stallAt, end } = await startHub();
const worker = await startWorker({ ...environment, NODETOOL_WORKER_TOKEN: "" });
let log = "";
for (const stream of [worker.child.stdout!, worker.child.stderr!])
  stream.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
const host = await SocketHost.connect(worker.url);
after(async () => {
  host.drop();
  await worker.stop();
  await end();
});

const start = (repository: string, secrets: Data): Pending =>
  host.request("execute", {
    ...execution({ model: { repo_id: repository }, steps: 1 }, { blobs: { depth_image: map } }),
    secrets,
  });
const run = (repository: string, secrets: Data): Promise<Data> => start(repository, secrets).answer;
/** The tokens that the Hub was shown for a repository. */
const shown = (repository: string): Set<string | undefined> =>
  new Set(
    hub.asked
      .filter(({ path, cdn }) => !cdn && path.includes(repository))
      .map(({ headers }) => headers.authorization),
  );

/** Waits until the stalled downloads send no more requests. */
async function downloadsStalled(): Promise<void> {
  for (let asked = -1; asked !== hub.asked.length; await setTimeout(300)) asked = hub.asked.length;
}

describe("a token in a run's secrets", () => {
  test("is asked for in the node's metadata", async () => {
    const { nodes } = (await host.ask("discover")) as { nodes: Data[] };
    assert.deepEqual(nodes[0]!.required_settings, ["HF_TOKEN"]);
  });

  test("opens a gated repository for the run's download", async () => {
    hub.host("me/gated", tiny, { gated: true });
    await run("me/gated", { HF_TOKEN: goodToken });
    assert.deepEqual(shown("me/gated"), new Set([`Bearer ${goodToken}`]));
  });

  test("is not used for another run", async () => {
    hub.host("me/other", tiny, { gated: true });
    await assert.rejects(run("me/other", {}), /me\/other: access is gated/);
    assert.deepEqual(shown("me/other"), new Set([undefined]));
  });

  test("is not used by a run that shared the download, once its own run is cancelled", async () => {
    hub.host("me/shared", tiny, { gated: true });
    stallAt(4e6);
    const owner = start("me/shared", { HF_TOKEN: goodToken });
    await owner.until(({ message }) => /^Downloading me\/shared/.test(`${message}`));
    const other = start("me/shared", {});
    await other.until(({ message }) => /^Downloading me\/shared/.test(`${message}`));
    await downloadsStalled();
    hub.forget();
    host.send("cancel", {}, owner.id);
    await assert.rejects(other.answer, /me\/shared: access is gated/);
    assert.deepEqual(shown("me/shared"), new Set([undefined]));
  });

  for (const secrets of [{ HF_TOKEN: "" }, { HF_TOKEN: 5 }, { OTHER: goodToken }])
    test(`is absent in ${JSON.stringify(Object.entries(secrets))}`, async () => {
      await assert.rejects(run("me/other", secrets), /access is gated/);
    });

  test("is neither logged, sent back, nor stored", () => {
    assert.match(log, /256×256, seed 7/);
    assert.ok(!log.includes(goodToken));
    assert.ok(!JSON.stringify(host.received).includes(goodToken));
    for (const entry of readdirSync(home, { recursive: true, withFileTypes: true }))
      if (entry.isFile())
        assert.ok(!readFileSync(join(entry.parentPath, entry.name)).includes(goodToken), entry.name);
  });
});
