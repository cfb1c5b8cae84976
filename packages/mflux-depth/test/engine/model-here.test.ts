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
    assert.deepEqual(await modelHere("someone/ink", env), {
      ready: true,
      bytes: size,
      lora: true,
      savedLoras: [],
    });
  });

  test("as one file of a repository with several", async () => {
    cached("someone/styles", "a.safetensors", "more/b.safetensors");
    assert.deepEqual(await modelHere("someone/styles:more/b.safetensors", env), {
      ready: true,
      bytes: size,
      lora: true,
      savedLoras: [],
    });
    assert.deepEqual(await modelHere("someone/styles:c.safetensors", env), {
      ready: false,
      bytes: null,
      lora: false,
      savedLoras: [],
    });
  });

  test("unless the repository has several files and none is named", async () => {
    cached("someone/pair", "a.safetensors", "b.safetensors");
    assert.deepEqual(await modelHere("someone/pair", env), {
      ready: false,
      bytes: 2 * size,
      lora: false,
      savedLoras: [],
    });
  });

  test("unless it is not there", async () => {
    assert.deepEqual(await modelHere("someone/absent", env), {
      ready: false,
      bytes: null,
      lora: false,
      savedLoras: [],
    });
  });
});

describe("a LoRA is told from a model", () => {
  /** A folder with copies of a LoRA and empty files. */
  function folder(name: string, copies: readonly string[], others: readonly string[] = []): string {
    const path = join(cache, "folders", name);
    mkdirSync(path, { recursive: true });
    for (const file of copies) copyFileSync(lora, join(path, file));
    for (const file of others) writeFileSync(join(path, file), "{}");
    return path;
  }

  for (const [what, source] of [
    ["as a file", lora],
    ["as a folder with one", folder("one", ["ink.safetensors"])],
    ["as a folder with a usual name", folder("usual", ["adapter_model.safetensors", "other.safetensors"])],
  ] as const)
    test(what, async () => {
      assert.equal((await modelHere(source, env)).lora, true);
    });

  for (const [what, source] of [
    ["the bundled model", "tiny-world"],
    ["a model that is one file with its config", folder("model", ["model.safetensors"], ["config.json"])],
    ["a folder with several", folder("several", ["a.safetensors", "b.safetensors"])],
  ] as const)
    test(`unlike ${what}`, async () => {
      assert.equal((await modelHere(source, env)).lora, false);
    });
});
