import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sessionSecret } from "../../src/data-folder/session-secret.js";
import { temporaryFolder } from "../support/folder.js";

test("the secret of sessions stays the same, in a file for this user alone", async (t) => {
  const folder = temporaryFolder(t);
  const secret = await sessionSecret(folder);
  assert.deepEqual(await sessionSecret(folder), Buffer.from(secret));
  assert.deepEqual(readdirSync(folder), ["session-key"]);
  assert.equal(statSync(join(folder, "session-key")).mode & 0o077, 0);
});
