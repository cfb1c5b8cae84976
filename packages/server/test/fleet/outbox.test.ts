import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Outbox } from "../../src/fleet/outbox.js";
import type { Report, Reports } from "../../src/fleet/protocol.js";

const warning = (message: string): Report => ({ type: "warning", message });
const step = (number: number): Report => ({
  type: "step",
  data: { step: number, steps: 2000, seconds: 1, remaining_seconds: 1 },
});

const preview = (number: number): Report => ({
  type: "preview",
  step: number,
  mime: "image/png",
  width: 1,
  height: 1,
  base64: "AAAA",
});

/** An outbox whose first delivery waits for `open`, and what it has delivered. */
function newOutbox() {
  const sent: Reports[] = [];
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const outbox = new Outbox(async (reports) => {
    sent.push(reports);
    await opened;
  });
  return { outbox, sent, open };
}

describe("an outbox", () => {
  test("sends what comes meanwhile together, in order and numbered", async () => {
    const { outbox, sent, open } = newOutbox();
    for (const message of ["one", "two", "three"]) outbox.add(warning(message));
    open();
    await outbox.flush();
    assert.deepEqual(sent, [
      { first: 0, reports: [warning("one")] },
      { first: 1, reports: [warning("two"), warning("three")] },
    ]);
  });

  test("drops the oldest progress while the API is unreachable, and keeps everything else", async () => {
    const { outbox, sent, open } = newOutbox();
    outbox.add(warning("first"));
    outbox.add(warning("second"));
    for (let number = 1; number <= 2000; number++) outbox.add(step(number));
    outbox.add(warning("last"));
    open();
    await outbox.flush();
    const { reports } = sent[1]!;
    assert.deepEqual([reports[0], reports.at(-1)], [warning("second"), warning("last")]);
    assert.deepEqual([reports.length, reports[1], reports.at(-2)], [502, step(1501), step(2000)]);
  });

  test("keeps the latest preview only, in its place: those of a whole job would not fit into one request", async () => {
    const { outbox, sent, open } = newOutbox();
    outbox.add(warning("first"));
    for (let number = 1; number <= 3; number++) {
      outbox.add(step(number));
      outbox.add(preview(number));
    }
    outbox.add(warning("last"));
    open();
    await outbox.flush();
    assert.deepEqual(sent[1]!.reports, [step(1), step(2), step(3), preview(3), warning("last")]);
  });

  test("tells whoever waits for the end that sending failed", async () => {
    const outbox = new Outbox(async () => {
      throw new Error("refused");
    });
    outbox.add(warning("one"));
    await assert.rejects(outbox.flush(), { message: "refused" });
  });
});
