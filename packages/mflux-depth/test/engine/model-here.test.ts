import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { modelHere } from "../../src/engine/model-here.js";
import { adapterFile } from "../support/adapters.js";

const cache = mkdtempSync(join(tmpdir(), "mflux-depth-here-"));
after(() => rmSync(cache, { recursive: true, force: true }));
const env = { HF_HUB_CACHE: cache };
const lora = adapterFile("diffusers");
const { size } = statSync(lora);

/** Puts copies of a LoRA into the cache, as a repository with these files. */
function cached(repository: string, ...files: string[]): void {
  const folder = join(cache, `models--${repository.replace("/", "--")}`);
  const commit = "0123456789abcdef0123456789abcdef01234567";
  mkdirSync(join(folder, "refs"), { recursive: true });
  writeFileSync(join(folder, "refs/main"), commit);
  for (const file of files) {
    const path = join(folder, "snapshots", commit, file);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(lora, path);
  }
}

describe("a LoRA in the Hub's cache is ready", () => {
  test("as a repository with one file", async () => {
    cached("someone/ink", "ink.safetensors");
    assert.deepEqual(await modelHere("someone/ink", env), { ready: true, bytes: size });
  });

  test("as one file of a repository with several", async () => {
    cached("someone/styles", "a.safetensors", "more/b.safetensors");
    assert.deepEqual(await modelHere("someone/styles:more/b.safetensors", env), { ready: true, bytes: size });
    assert.deepEqual(await modelHere("someone/styles:c.safetensors", env), { ready: false, bytes: null });
  });

  test("unless nobody says which of several files", async () => {
    cached("someone/pair", "a.safetensors", "b.safetensors");
    assert.deepEqual(await modelHere("someone/pair", env), { ready: false, bytes: 2 * size });
  });

  test("unless it is not there", async () => {
    assert.deepEqual(await modelHere("someone/absent", env), { ready: false, bytes: null });
  });
});
