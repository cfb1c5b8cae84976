import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { resolveRepository } from "../../src/hub/repository.js";
import { hubCache } from "../../src/hub/settings.js";
import { folderPerTest } from "../support/folders.js";
import { refused } from "../support/refusals.js";

const current = folderPerTest("repository");
let folder = "";
beforeEach(() => {
  folder = current();
});

describe("resolveRepository", () => {
  const env = (): NodeJS.ProcessEnv => ({ HF_HUB_CACHE: folder });
  const snapshot = (commit: string): string => {
    const path = join(folder, "models--owner--name", "snapshots", commit);
    mkdirSync(path, { recursive: true });
    return path;
  };

  test("finds the bundled checkpoint and folders", () => {
    const bundled = resolveRepository("tiny-world");
    assert.ok(existsSync(join(bundled.folder, "model_index.json")));
    assert.equal(bundled.revision, undefined);
    assert.equal(resolveRepository(folder).folder, folder);
  });

  test("finds a repository in the cache by reference, commit, or without reference", () => {
    snapshot("aaaa");
    snapshot("bbbb");
    const refs = join(folder, "models--owner--name", "refs");
    mkdirSync(join(refs, "pr"), { recursive: true });
    writeFileSync(join(refs, "main"), "aaaa\n");
    writeFileSync(join(refs, "pr", "1"), "bbbb");
    assert.equal(resolveRepository("owner/name", { env: env() }).revision, "aaaa");
    assert.equal(resolveRepository("owner/name", { env: env() }).folder, snapshot("aaaa"));
    assert.equal(resolveRepository("owner/name", { env: env(), revision: "bbbb" }).revision, "bbbb");
    assert.equal(resolveRepository("owner/name", { env: env(), revision: "pr/1" }).revision, "bbbb");
    rmSync(refs, { recursive: true });
    utimesSync(snapshot("aaaa"), 1000, 1000);
    utimesSync(snapshot("bbbb"), 2000, 2000);
    assert.equal(resolveRepository("owner/name", { env: env() }).revision, "bbbb");
    // The second is a folder, but above the snapshots.
    for (const revision of ["v2", ".."])
      refused(
        () => resolveRepository("owner/name", { env: env(), revision }),
        "owner/name",
        new RegExp(`revision ${revision.replaceAll(".", "[.]")}`),
      );
  });

  test("knows the places of the cache in their order", () => {
    for (const [variables, cache] of [
      [{ HF_HUB_CACHE: folder, HF_HOME: "/none" }, folder],
      [{ HF_HOME: folder, XDG_CACHE_HOME: "/none" }, join(folder, "hub")],
      [{ XDG_CACHE_HOME: folder }, join(folder, "huggingface", "hub")],
      [{}, join(homedir(), ".cache", "huggingface", "hub")],
    ] as const)
      assert.equal(hubCache(variables), cache);
  });

  test("says how to get what is not there", () => {
    refused(
      () => resolveRepository("owner/name", { env: env() }),
      "owner/name",
      /download it, or use the bundled model, tiny-world/,
    );
    refused(() => resolveRepository("./none", { env: env() }), "./none", /no such folder.*tiny-world/);
    refused(() => resolveRepository("tiny", { env: env() }), "tiny", /no such folder.*tiny-world/);
    refused(() => resolveRepository("../a/b", { env: env() }), "../a/b", /no such folder/);
  });
});
