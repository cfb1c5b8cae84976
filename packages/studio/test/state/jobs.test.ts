import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobObject } from "@mflux-depth/server/contract";
import { forget, jobs, learn, takeJobEvent } from "../../src/state/jobs.js";

/** A job as far as these tests look at it. */
const jobWith = (changes: Partial<JobObject>): JobObject =>
  ({ id: "a", state: "queued", position: 0, step: 0, starred: false, ...changes }) as JobObject;

describe("what the page knows of a job", () => {
  test("is not set back by an answer that an event of its end has overtaken", () => {
    const ended = jobWith({ state: "succeeded", position: null });
    takeJobEvent({ event: "succeeded", data: { job: "a", result: ended } });
    learn([jobWith({ state: "running", position: null })]);
    assert.equal(jobs.value.get("a")!.state, "succeeded");
    forget("a");
  });

  test("is kept up to date by answers about a finished job", () => {
    learn([jobWith({ state: "succeeded" })]);
    learn([jobWith({ state: "succeeded", starred: true })]);
    assert.equal(jobs.value.get("a")!.starred, true);
    forget("a");
  });

  test("says that it runs once a step of it arrives, although the answer was written while it waited", () => {
    learn([jobWith({})]);
    const data = { job: "a", step: 3, steps: 20, seconds: 1, remaining_seconds: 9 };
    takeJobEvent({ event: "step", data });
    const { state, step, position } = jobs.value.get("a")!;
    assert.deepEqual([state, step, position], ["running", 3, null]);
    forget("a");
  });
});
