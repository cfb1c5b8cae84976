import assert from "node:assert/strict";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { durableEvents, type JobObject } from "../../src/contract/index.js";
import { Ledger } from "../../src/ledger/ledger.js";
import { allEvents, eventsOf, type ReceivedEvent } from "../support/events.js";
import { newJob } from "../support/ledger.js";
import { connection } from "../support/raw.js";
import { errorOf, TestServer, temporaryFolder } from "../support/server.js";
import { slowSteps } from "../support/slow-steps.js";
import { until } from "../support/until.js";

const server = await TestServer.start();
const post = (path: string) => server.fetch(path, { method: "POST" });

const isDurable = ({ event }: ReceivedEvent): boolean => (durableEvents as readonly string[]).includes(event);
const names = (events: readonly ReceivedEvent[]): string[] => events.map(({ event }) => event);

describe("the events of a job", () => {
  test("tell its story, with growing ids and one last event", async () => {
    const job = await server.submit({ request: { steps: 4 } });
    const events = await allEvents(server, `/v1/jobs/${job.id}/events`);
    assert.deepEqual(names(events.filter(isDurable)), ["queued", "started", "succeeded"]);
    assert.ok(events.every(({ data }) => data.job === job.id && typeof data.attempt === "number"));
    assert.ok(events.every(({ id }, i) => i === 0 || id > events[i - 1]!.id));
    const steps = events.filter(({ event }) => event === "step");
    assert.deepEqual(
      steps.map(({ data }) => [data.step, data.steps]),
      [1, 2, 3, 4].map((step) => [step, 4]),
    );
    const stages = events.filter(({ event, data }) => event === "stage" && data.state === "finished");
    assert.deepEqual(
      stages.map(({ data }) => data.stage),
      ["text", "control", "denoise", "decode"],
    );
    const result = events.at(-1)!.data.result as JobObject;
    assert.deepEqual([result.id, result.state], [job.id, "succeeded"]);
  });

  test("continue after any of them", async () => {
    const job = await server.submit();
    const events = await allEvents(server, `/v1/jobs/${job.id}/events`);
    const durable = events.filter(isDurable);
    const after = durable[0]!.id;
    const byHeader = await allEvents(server, `/v1/jobs/${job.id}/events`, { "last-event-id": `${after}` });
    const byQuery = await allEvents(server, `/v1/jobs/${job.id}/events?after=${after}`);
    assert.deepEqual(byHeader.filter(isDurable), durable.slice(1));
    assert.deepEqual(byQuery, byHeader);
  });

  test("prefer the header, which browsers send when they reconnect", async () => {
    const job = await server.submit({}, "/v1/jobs?wait=60");
    const events = await allEvents(server, `/v1/jobs/${job.id}/events?after=0`);
    const response = await server.fetch(`/v1/jobs/${job.id}/events?after=0`, {
      headers: { "last-event-id": `${events.at(-1)!.id}` },
    });
    assert.equal(response.status, 204);
  });

  test("end with 204 when none remain, so that browsers stop", async () => {
    const job = await server.submit({}, "/v1/jobs?wait=60");
    const [last] = (await allEvents(server, `/v1/jobs/${job.id}/events`)).slice(-1);
    assert.equal((await server.fetch(`/v1/jobs/${job.id}/events?after=${last!.id}`)).status, 204);
  });

  test("may not be kept or collected by a proxy", async () => {
    const job = await server.submit();
    const { headers, body } = await server.fetch(`/v1/jobs/${job.id}/events`);
    assert.equal(headers.get("content-type"), "text/event-stream");
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("x-accel-buffering"), "no");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    await body!.cancel();
  });

  describe("refuse the id", () => {
    let path: string;
    before(async () => {
      path = `/v1/jobs/${(await server.submit()).id}/events`;
    });
    for (const id of ["-1", "1.5", "abc", "1e3", "9".repeat(30)])
      test(id, async () => {
        const response = await server.fetch(path, { headers: { "last-event-id": id } });
        assert.equal((await errorOf(response)).status, 400);
      });
  });

  test("say when a queued job moves up", async () => {
    await post("/v1/queue/pause");
    const [first, second] = [await server.submit(), await server.submit()];
    const events = eventsOf(await server.fetch(`/v1/jobs/${second.id}/events`));
    const { position } = (await events.next()).value.data;
    await post(`/v1/jobs/${first.id}/cancel`);
    let moved = (await events.next()).value;
    while (moved.data.position === position) moved = (await events.next()).value;
    assert.deepEqual([moved.event, moved.data.position], ["queued", position - 1]);
    await events.return(undefined);
    await post(`/v1/jobs/${second.id}/cancel`);
    await post("/v1/queue/resume");
  });

  test("have previews at addresses that are good while the job runs", async () => {
    const slow = await TestServer.start({ env: slowSteps });
    const job = await slow.submit({ request: { steps: 5 }, preview_every: 2 });
    const steps = [];
    for await (const { event, data } of eventsOf(await slow.fetch(`/v1/jobs/${job.id}/events`))) {
      if (event !== "preview") continue;
      steps.push(data.step);
      if (steps.length > 1) continue;
      const response = await slow.fetch(String(data.url));
      assert.equal(response.headers.get("content-type"), "image/jpeg");
      assert.equal(response.headers.get("cache-control"), "private, no-store");
      assert.ok((await response.arrayBuffer()).byteLength > 100);
    }
    assert.deepEqual(steps.slice(0, 2), [2, 4]);
    assert.equal((await slow.fetch(`/v1/jobs/${job.id}/previews/2`)).status, 404);
    await slow.stop();
  });

  test("end with cancelled for a job that was", async () => {
    await post("/v1/queue/pause");
    const job = await server.submit();
    const events = allEvents(server, `/v1/jobs/${job.id}/events`);
    await post(`/v1/jobs/${job.id}/cancel`);
    assert.deepEqual(names(await events), ["queued", "cancelled"]);
    await post("/v1/queue/resume");
  });

  test("reach a slow reader without gaps in the durable events", async () => {
    const job = await server.submit({ request: { steps: 50 }, preview_every: 1 });
    const socket = await connection(server);
    socket.write(`GET /v1/jobs/${job.id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    socket.pause();
    await server.finished(job.id);
    let text = "";
    for await (const chunk of socket.setEncoding("utf8")) text += chunk;
    const found = new Set(text.match(/^event: \w+/gm));
    for (const name of ["queued", "started", "succeeded"]) assert.ok(found.has(`event: ${name}`), text);
  });
});

describe("the events of everything", () => {
  test("begin with what happens next", async () => {
    await server.submit({}, "/v1/jobs?wait=60");
    const events = eventsOf(await server.fetch("/v1/events"));
    const job = await server.submit();
    const { value } = await events.next();
    assert.deepEqual([value.event, value.data.job], ["queued", job.id]);
    assert.ok(Number(value.data.event_id) > 0);
    await events.return(undefined);
    await server.finished(job.id);
  });

  test("continue after any of them", async () => {
    const live = eventsOf(await server.fetch("/v1/events"));
    const job = await server.submit();
    const seen: ReceivedEvent[] = [];
    for await (const event of live) {
      seen.push(event);
      if (event.event === "succeeded") break;
    }
    const again = eventsOf(await server.fetch(`/v1/events?after=${seen[0]!.id}`));
    const { value } = await again.next();
    assert.deepEqual([value.event, value.data.job], ["started", job.id]);
    await again.return(undefined);
  });

  test("continue without a gap however many there were", async () => {
    const data = temporaryFolder();
    const ledger = new Ledger(join(data, "ledger.db"), () => {});
    const job = newJob();
    const count = 10_500;
    ledger.write(() => {
      ledger.jobs.insert(job);
      for (let n = 0; n < count; n++)
        ledger.events.insert({
          id: ledger.events.nextId(),
          jobId: job.id,
          name: "warning",
          attempt: 0,
          data: { message: `${n}` },
        });
      ledger.jobs.cancelQueued(job.id, Date.now());
    });
    ledger.close();
    const restarted = await TestServer.start({ data });
    const events = eventsOf(await restarted.fetch("/v1/events?after=0"));
    for (let n = 0; n < count; n++) assert.equal((await events.next()).value.data.message, `${n}`);
    await restarted.fetch("/v1/queue/pause", { method: "POST" });
    assert.equal((await events.next()).value.event, "queue");
    await events.return(undefined);
    await restarted.stop();
  });

  test("have changes, deletions and pauses too", async () => {
    const job = await server.submit({}, "/v1/jobs?wait=60");
    const events = eventsOf(await server.fetch("/v1/events"));
    await server.send("PATCH", `/v1/jobs/${job.id}`, { starred: true });
    const updated = (await events.next()).value;
    assert.deepEqual([updated.event, updated.data.result.starred], ["updated", true]);
    await server.fetch(`/v1/jobs/${job.id}`, { method: "DELETE" });
    const deleted = (await events.next()).value;
    assert.deepEqual([deleted.event, deleted.data.job], ["deleted", job.id]);
    await post("/v1/queue/pause");
    assert.deepEqual((await events.next()).value.data.paused, true);
    await post("/v1/queue/resume");
    assert.deepEqual((await events.next()).value.data.paused, false);
    await events.return(undefined);
  });
});

test("open streams are counted", async () => {
  const count = async (): Promise<number> =>
    Number(/^mflux_depth_sse_clients (\d+)/m.exec(await (await server.fetch("/metrics")).text())![1]);
  // Streams of other tests may still be closing.
  await until(async () => (await count()) === 0);
  const response = await server.fetch("/v1/events");
  assert.equal(await count(), 1);
  await response.body!.cancel();
  await until(async () => (await count()) === 0);
});
