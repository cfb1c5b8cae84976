import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openInBrowser } from "../src/browser.js";

test("the browser gets the address and no token", {
  skip: process.platform !== "linux" && "replaces xdg-open",
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "mflux-depth-browser-"));
  t.after(() => rm(folder, { recursive: true }));
  const opener = join(folder, "xdg-open");
  const [seen, written] = [join(folder, "seen"), join(folder, "written")];
  await writeFile(
    opener,
    `#!/bin/sh\n{ echo "$1"; /usr/bin/env; } > "${written}" && /bin/mv "${written}" "${seen}"\n`,
  );
  await chmod(opener, 0o755);
  const complaints: string[] = [];
  const env = { PATH: folder, LANG: "C", MFLUX_DEPTH_TOKEN: "secret", HF_TOKEN: "secret" };
  openInBrowser("http://127.0.0.1:1/", { env, complain: (message) => complaints.push(message) });
  let text: string | null = null;
  while (text === null && complaints.length === 0) {
    await sleep(20);
    text = await readFile(seen, "utf8").catch(() => null);
  }
  assert.deepEqual(complaints, []);
  assert.match(text!, /^http:\/\/127\.0\.0\.1:1\/\n/);
  assert.match(text!, /^LANG=C$/m);
  assert.doesNotMatch(text!, /secret/);
});
