import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { prioritiesAfterMove } from "../../src/state/queue.js";

interface Waiting {
  readonly id: string;
  readonly priority: number;
  readonly created_at: string;
}

const inOrder = (jobs: readonly Waiting[]): Waiting[] =>
  [...jobs].sort((a, b) => b.priority - a.priority || a.created_at.localeCompare(b.created_at));

/** Moves a job and returns the order that the server would have. */
function moved(jobs: readonly Waiting[], id: string, direction: "up" | "down"): string {
  const changes = new Map(
    prioritiesAfterMove(inOrder(jobs), id, direction).map((change) => [change.id, change]),
  );
  const after = jobs.map((job) => ({ ...job, priority: changes.get(job.id)?.priority ?? job.priority }));
  return inOrder(after)
    .map((job) => job.id)
    .join("");
}

const job = (id: string, priority: number, created: number): Waiting => ({
  id,
  priority,
  created_at: `2026-01-01T00:00:0${created}.000Z`,
});

describe("moving a waiting job", () => {
  const equal = [job("a", 0, 1), job("b", 0, 2), job("c", 0, 3), job("d", 0, 4)];

  test("swaps it with its neighbour, whatever their priorities", () => {
    assert.equal(moved(equal, "c", "up"), "acbd");
    assert.equal(moved(equal, "b", "down"), "acbd");
    const mixed = [job("a", 5, 4), job("b", 5, 5), job("c", 2, 1), job("d", 0, 2), job("e", 0, 3)];
    assert.equal(moved(mixed, "c", "up"), "acbde");
    assert.equal(moved(mixed, "e", "up"), "abced");
    assert.equal(moved(mixed, "a", "down"), "bacde");
  });

  test("changes nothing at the ends", () => {
    assert.deepEqual(prioritiesAfterMove(equal, "a", "up"), []);
    assert.deepEqual(prioritiesAfterMove(equal, "d", "down"), []);
  });

  test("leaves jobs behind it alone", () => {
    assert.deepEqual(
      prioritiesAfterMove(equal, "c", "up").map(({ id }) => id),
      ["a", "c"],
    );
  });
});
