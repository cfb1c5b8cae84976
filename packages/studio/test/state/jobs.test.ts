import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobObject } from "@mflux-depth/server/contract";
import { jobs, learn } from "../../src/state/jobs.js";

const job = (changes: Partial<JobObject>): JobObject => ({ id: "a-job", ...changes }) as JobObject;

test("a job that has ended is not taken back by an answer that is older", () => {
  learn([job({ state: "cancelled" })]);
  learn([job({ state: "running", cancel_requested: true })]);
  assert.equal(jobs.value.get("a-job")!.state, "cancelled");
});

test("a job that has ended takes other changes", () => {
  learn([job({ state: "succeeded", starred: false })]);
  learn([job({ state: "succeeded", starred: true })]);
  assert.equal(jobs.value.get("a-job")!.starred, true);
});
