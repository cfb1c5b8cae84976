import assert from "node:assert/strict";
import { after, describe, mock, test } from "node:test";
import { SideProcess } from "../../src/engine/side-process.js";
import { job } from "../support/engine.js";

const planRequest = { type: "plan", job: job(), heldBytes: 0 } as const;

describe("the side process", () => {
  const side = new SideProcess(undefined);
  after(() => side.stop());

  test("is replaced by a new one when it ends for lack of requests, without losing a request", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    try {
      await side.ask(planRequest, undefined);
      const first = side.pid;
      // It has been told to end, but has not ended yet.
      mock.timers.tick(60_000);
      const { plan } = await side.ask(planRequest, undefined);
      assert.ok(plan.fits);
      assert.notEqual(side.pid, first);
    } finally {
      mock.timers.reset();
    }
  });
});
