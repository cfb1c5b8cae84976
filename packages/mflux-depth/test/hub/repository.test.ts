import assert from "node:assert/strict";
import { existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { ModelError } from "../../src/errors.js";
import { resolveRepository } from "../../src/hub/repository.js";
import { folderPerTest } from "../support/folders.js";
import { refused } from "../support/refusals.js";

const current = folderPerTest("repository");
let folder = "";
beforeEach(() => {
  folder = current();
});

describe("resolveRepository finds", () => {
  test("the bundled model", () => {
    const bundled = resolveRepository("tiny-world");
    assert.ok(existsSync(join(bundled.folder, "model_index.json")));
    assert.equal(bundled.revision, undefined);
  });

  test("a folder", () => assert.equal(resolveRepository(folder).folder, folder));
});

describe("in the cache, resolveRepository", () => {
  const snapshotOf = (commit: string): string => join(folder, "models--owner--name", "snapshots", commit);
  /** Makes a cache with two commits and these references. */
  const makeCache = (references: Record<string, string>): void => {
    for (const commit of ["aaaa", "bbbb"]) mkdirSync(snapshotOf(commit), { recursive: true });
    for (const [name, commit] of Object.entries(references)) {
      const path = join(folder, "models--owner--name", "refs", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, commit);
    }
  };
  const resolve = (revision?: string) =>
    resolveRepository("owner/name", { env: { HF_HUB_CACHE: folder }, revision });

  test("finds the commit of main by default", () => {
    makeCache({ main: "aaaa\n" });
    assert.equal(resolve().revision, "aaaa");
    assert.equal(resolve().folder, snapshotOf("aaaa"));
  });

  test("finds a commit", () => {
    makeCache({ main: "aaaa\n" });
    assert.equal(resolve("bbbb").revision, "bbbb");
  });

  test("finds the commit of a reference", () => {
    makeCache({ main: "aaaa\n", "pr/1": "bbbb" });
    assert.equal(resolve("pr/1").revision, "bbbb");
  });

  test("finds the newest commit without references", () => {
    makeCache({});
    utimesSync(snapshotOf("aaaa"), 1000, 1000);
    utimesSync(snapshotOf("bbbb"), 2000, 2000);
    assert.equal(resolve().revision, "bbbb");
  });

  for (const revision of ["v2", ".."])
    test(`refuses revision ${revision}, which is not a snapshot`, () => {
      makeCache({});
      refused(
        () => resolve(revision),
        "owner/name",
        new RegExp(`revision ${revision.replaceAll(".", "[.]")}`),
      );
    });

  test("says how to get a repository that is not there", () => {
    refused(() => resolve(), "owner/name", /; the bundled model is tiny-world$/);
    assert.throws(
      () => resolve(),
      (error) => {
        assert.ok(error instanceof ModelError);
        assert.deepEqual(error.details.remedies, [{ kind: "download", model: "owner/name" }]);
        return true;
      },
    );
  });
});

test("resolveRepository says that a revision whose name is too long is not in the cache", () => {
  mkdirSync(join(folder, "models--owner--name", "snapshots", "aaaa"), { recursive: true });
  const revision = "r".repeat(300);
  const env = { HF_HUB_CACHE: folder };
  refused(
    () => resolveRepository("owner/name", { env, revision }),
    "owner/name",
    /it is neither a folder nor/,
  );
});

test("resolveRepository says that a cache that is a file has no repository", () => {
  writeFileSync(join(folder, "file"), "");
  const env = { HF_HUB_CACHE: join(folder, "file") };
  refused(() => resolveRepository("owner/name", { env }), "owner/name", /in the Hugging Face cache/);
});

describe("resolveRepository says that", () => {
  const refusedAs = (path: string, message: RegExp): void =>
    refused(() => resolveRepository(path), path, message);

  test("a file is not a folder", () => {
    writeFileSync(join(folder, "file"), "");
    refusedAs(join(folder, "file"), /it is not a folder/);
  });

  test("there is nothing below a file", () => {
    writeFileSync(join(folder, "file"), "");
    refusedAs(join(folder, "file", "x"), /there is no such folder/);
  });

  test("a link leads back to itself", () => {
    symlinkSync("loop", join(folder, "loop"));
    refusedAs(join(folder, "loop"), /it is a link that leads back to itself/);
  });

  test("a name is too long", () => refusedAs(join(folder, "m".repeat(300)), /it is too long/));

  const asRoot = process.getuid?.() === 0 && "root may look at everything";
  test("a folder may not be looked at", { skip: asRoot }, () => {
    mkdirSync(join(folder, "closed"), { mode: 0 });
    refusedAs(join(folder, "closed", "model"), /you do not have permission to look at it \(EACCES\)/);
  });
});

describe("resolveRepository refuses", () => {
  for (const [what, name, message] of [
    ["a missing folder", "./none", /no such folder.*tiny-world/],
    ["a name without an owner", "tiny", /no such folder.*tiny-world/],
    ["a name that leads elsewhere", "../a/b", /no such folder/],
  ] as const)
    test(what, () =>
      refused(() => resolveRepository(name, { env: { HF_HUB_CACHE: folder } }), name, message),
    );
});
