import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobEvent } from "../../src/contract/index.js";
import { EventHub } from "../../src/history/event-hub.js";

const event = (job: string, id = 1): JobEvent => ({
  id,
  event: "warning",
  data: { job, attempt: 1, message: "dark" },
});

describe("an event hub", () => {
  test("tells those who listen to a job, and those who listen to all with the id within the job", () => {
    const hub = new EventHub(assert.ifError);
    const [ofA, ofAll]: unknown[][] = [[], []];
    hub.subscribe("a", (one) => ofA!.push(one));
    hub.subscribeToAll((one) => ofAll!.push(one));
    hub.publish(event("a", 7));
    hub.publish(event("b", 8));
    assert.deepEqual(ofA, [event("a", 7)]);
    assert.deepEqual(ofAll, [
      { ...event("a", 7), data: { ...event("a", 7).data, event_id: 7 } },
      { ...event("b", 8), data: { ...event("b", 8).data, event_id: 8 } },
    ]);
  });

  test("tells nobody who has left, and knows when nobody listens", () => {
    const hub = new EventHub(assert.ifError);
    const leave = hub.subscribe("a", () => assert.fail("it has left"));
    assert.equal(hub.hears("a"), true);
    leave();
    hub.publish(event("a"));
    assert.equal(hub.hears("a"), false);
  });

  test("reports a listener that throws, and tells the others", () => {
    const errors: unknown[] = [];
    const hub = new EventHub((error) => errors.push(error));
    const failure = new Error("connection lost");
    let told = 0;
    hub.subscribe("a", () => {
      throw failure;
    });
    hub.subscribe("a", () => told++);
    hub.publish(event("a"));
    assert.deepEqual([errors, told], [[failure], 1]);
  });
});
