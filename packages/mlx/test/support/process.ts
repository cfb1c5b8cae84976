import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** URL of a compiled module under `src`, for programs that import it: `source("index")`. */
export const source = (module: string): string => new URL(`../../src/${module}.js`, import.meta.url).href;

/**
 * Waits until a condition holds, however busy the machine is.
 * @throws {AssertionError} when it does not hold within a minute.
 */
export async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `not within a minute: ${holds}`);
    await sleep(1);
  }
}

/** Makes a folder for this test file and removes it after the tests. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "mlx-test-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a program in its own process, with the library as `mx`; returns its output. */
export function program(
  code: string,
  options: { flags?: string[]; env?: Record<string, string> } = {},
): string {
  const text = `import * as mx from ${JSON.stringify(source("index"))};\n${code}`;
  const child = spawnSync(process.execPath, [...(options.flags ?? []), "--input-type=module", "-e", text], {
    encoding: "utf8",
    timeout: 300_000,
    env: { ...process.env, ...options.env },
  });
  assert.equal(child.status, 0, `${child.signal ?? child.status}: ${child.stderr}`);
  return child.stdout.trim();
}
