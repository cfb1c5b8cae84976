import { describe, test } from "node:test";
import { Waits } from "../../../src/dispatch/redis/waits.js";

const never = new AbortController().signal;

// A wait that is not ended takes longer.
describe("a wait for news", { timeout: 30_000 }, () => {
  test("ends with news", async () => {
    const waits = new Waits();
    const waiting = waits.after(waits.news, 60_000, never);
    waits.wake();
    await waiting;
  });

  test("ends at once if there has been news since the last look", async () => {
    const waits = new Waits();
    const { news } = waits;
    waits.wake();
    await waits.after(news, 60_000, never);
  });

  test("ends with news that is told later", async () => {
    const waits = new Waits();
    const waiting = waits.after(waits.news, 60_000, never);
    waits.wake(20);
    waits.wake(60_000);
    await waiting;
  });

  test("ends after its time, and when it is aborted", async () => {
    const waits = new Waits();
    await waits.after(waits.news, 1, never);
    const end = new AbortController();
    const waiting = waits.after(waits.news, 60_000, end.signal);
    end.abort();
    await waiting;
    await waits.after(waits.news, 60_000, end.signal);
  });
});
