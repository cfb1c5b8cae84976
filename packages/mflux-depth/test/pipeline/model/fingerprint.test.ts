import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bundled, loadTinyWorld } from "../../support/tiny-world.js";

const model = mkdtempSync(join(tmpdir(), "mflux-depth-fingerprint-"));
after(() => rmSync(model, { recursive: true, force: true }));

test("a fingerprint ignores broken links", async () => {
  for (const name of readdirSync(bundled)) symlinkSync(join(bundled, name), join(model, name));
  using flux = await loadTinyWorld({ model });
  const { fingerprint } = flux;
  symlinkSync(join(model, "missing"), join(model, "link"));
  assert.equal(flux.fingerprint, fingerprint);
});
