import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "./support/process.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = temporaryFolder();

/** Runs the installer with a Python that says it is of a version; returns what it prints as an error. */
function install(version: string): string {
  const python = join(folder, "python");
  writeFileSync(python, `#!/bin/sh\necho ${version}\n`);
  chmodSync(python, 0o755);
  const installer = join(root, "native", "install.mjs");
  const { stderr } = spawnSync(process.execPath, [installer], {
    encoding: "utf8",
    env: { ...process.env, PYTHON: python },
  });
  return stderr;
}

describe("the installer", () => {
  const refusal = install("2.7");
  const needed = /(\d+\.\d+) or newer is needed/.exec(refusal)?.[1];

  test("refuses an old Python and says which it needs", () => {
    assert.match(
      refusal,
      /python is Python 2\.7; \d+\.\d+ or newer is needed\n {2}To fix it: install a newer/,
    );
  });

  for (const document of ["README.md", "CONTRIBUTING.md"])
    test(`needs the Python that ${document} names`, () => {
      const text = readFileSync(join(root, "..", "..", document), "utf8");
      assert.equal(/Python (\d+\.\d+) or newer/.exec(text)?.[1], needed);
    });
});
