import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Reserve } from "../../src/data-folder/reserve.js";

let root: string | null = null;

/** A new folder, named after the test. It is removed when the test process ends. */
export function temporaryFolder({ name }: Pick<TestContext, "name">): string {
  root ??= newRoot();
  return mkdtempSync(join(root, `${name.replace(/\W+/g, "-").slice(0, 40)}-`));
}

function newRoot(): string {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-server-"));
  // Hooks of a test run in the order in which they were added, when its processes may still write.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** A reserve in a new folder. */
export const newReserve = (t: TestContext): Reserve => new Reserve(join(temporaryFolder(t), "reserve"));
