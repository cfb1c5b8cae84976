import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Reserve } from "../../src/data-folder/reserve.js";

/** A new folder that is removed after the test. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-server-"));
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** Room for a ledger, in a folder of its own. */
export const newReserve = (t: TestContext): Reserve => new Reserve(join(temporaryFolder(t), "reserve"));
