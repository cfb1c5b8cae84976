import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, mock, test } from "node:test";
import { Engine } from "mflux-depth/engine";
import { pack } from "msgpackr";
import { decodeFrame } from "../../src/worker/frames.js";
import { Worker } from "../../src/worker/worker.js";
import { type Data, examples, execution, until } from "../support/host.js";
import { startHub, tiny } from "../support/hub.js";

const map = readFileSync(new URL("cube_depth.png", examples));
const { hub, environment, end } = await startHub();
const engine = new Engine({ env: { ...process.env, ...environment } });
before(() => mock.timers.enable({ apis: ["setInterval"] }));
after(async () => {
  mock.timers.reset();
  await engine.close();
  await end();
});

/** Twelve minutes of silence end a run in the host. */
const halfMinute = 30_000;

/** The progress frames of each run, by its id. */
const progress = new Map<string, Data[]>();
const ended = new Map<string, string>();
const connection = new Worker({ transport: "stdio", engine }).connect((payload) => {
  const { type, request_id: id, data } = decodeFrame(payload);
  if (type === "progress") progress.set(id, [...(progress.get(id) ?? []), data]);
  else if (type !== "update") ended.set(id, type);
});
const framesOf = (id: string): Data[] => progress.get(id) ?? [];
const start = (id: string, fields: Data): void =>
  connection.receive(
    pack({
      type: "execute",
      request_id: id,
      data: execution({ steps: 50, ...fields }, { blobs: { depth_image: map } }),
    }),
  );
const cancel = async (id: string): Promise<void> => {
  connection.receive(pack({ type: "cancel", request_id: id, data: {} }));
  await until(() => ended.has(id));
};

/** The frames sent in two half minutes without other news. */
function remindersOf(id: string): Data[] {
  const before = framesOf(id).length;
  mock.timers.tick(2 * halfMinute);
  return framesOf(id).slice(before);
}

describe("a silent run repeats its progress every half minute", () => {
  test("while it is downloading", async () => {
    hub.host("me/stalled", tiny);
    hub.fault = () => true;
    start("download", { model: { repo_id: "me/stalled" } });
    await until(() => hub.asked.length > 0);
    const reminders = remindersOf("download");
    assert.deepEqual(
      reminders.map(({ progress: done, total }) => [done, total]),
      [
        [0, 50],
        [0, 50],
      ],
    );
    await cancel("download");
  });

  test("while it is queued, and while it works", async () => {
    start("running", {});
    start("queued", {});
    await until(() => framesOf("running").some(({ progress: done }) => done === 1));
    const last = framesOf("running").at(-1);
    assert.deepEqual(remindersOf("running"), [last, last]);
    assert.deepEqual(
      framesOf("queued")
        .slice(0, 2)
        .map(({ progress: done, total }) => [done, total]),
      [
        [0, 50],
        [0, 50],
      ],
    );
    await cancel("queued");
    await cancel("running");
  });

  test("no longer when it has ended", () => {
    assert.deepEqual(remindersOf("running"), []);
  });
});
