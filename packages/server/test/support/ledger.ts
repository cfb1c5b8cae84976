import { join } from "node:path";
import type { TestContext } from "node:test";
import { newId } from "../../src/ledger/ids.js";
import type { NewJob } from "../../src/ledger/jobs.js";
import { Ledger } from "../../src/ledger/ledger.js";
import { temporaryFolder } from "./folder.js";

/** A new ledger in a new folder. */
export function newLedger(t: TestContext, folder = temporaryFolder(t)): Ledger {
  const ledger = new Ledger(join(folder, "ledger.db"), () => {});
  t.after(() => ledger.close());
  return ledger;
}

/** The facts about a job; those that a test does not care about have some value. */
export const newJob = (facts: Partial<NewJob> = {}): NewJob => ({
  id: newId(),
  kind: "generate",
  priority: 0,
  createdAt: Date.now(),
  steps: 4,
  seed: 7,
  request: { prompt: "a cube" },
  load: { model: "tiny-world" },
  model: "tiny-world",
  previewEvery: 0,
  metadata: {},
  warnings: [],
  idempotencyKey: null,
  bodyHash: null,
  ...facts,
});
