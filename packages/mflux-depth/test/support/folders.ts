import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach } from "node:test";

/** Gives each test of a file its own empty folder; all are deleted after the last test. */
export function folderPerTest(name: string): () => string {
  const root = mkdtempSync(join(tmpdir(), `${name}-`));
  let folder = "";
  let count = 0;
  beforeEach(() => {
    folder = join(root, `${count++}`);
    mkdirSync(folder);
  });
  after(() => rmSync(root, { recursive: true }));
  return () => folder;
}

/** Writes a value as JSON, or a string unchanged. */
export const writeJson = (path: string, value: unknown): void =>
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
