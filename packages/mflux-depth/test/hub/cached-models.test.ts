import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ModelError } from "../../src/errors.js";
import { identifyModel } from "../../src/families/identify.js";
import { cachedModels, deleteCached } from "../../src/hub/cached-models.js";

const temporary = mkdtempSync(join(tmpdir(), "cached-"));
after(() => rmSync(temporary, { recursive: true }));

const [first, second] = ["1".repeat(40), "2".repeat(40)] as const;
const tinyWorld = fileURLToPath(new URL("../../../models/tiny-world", import.meta.url));

/**
 * Makes a cache like that of Python's library.
 * @param repositories for each repository and commit, its files with the names of their blobs.
 */
function cacheOf(
  repositories: Record<
    string,
    { refs?: Record<string, string>; commits: Record<string, Record<string, string>> }
  >,
): { env: NodeJS.ProcessEnv; cache: string } {
  const cache = mkdtempSync(join(temporary, "hub-"));
  for (const [name, { refs = { main: first }, commits }] of Object.entries(repositories)) {
    const root = join(cache, `models--${name.replace("/", "--")}`);
    for (const [reference, commit] of Object.entries(refs)) write(join(root, "refs", reference), commit);
    for (const [commit, files] of Object.entries(commits))
      for (const [path, blob] of Object.entries(files)) {
        const [pointer, target] = [join(root, "snapshots", commit, path), join(root, "blobs", blob)];
        if (!existsSync(target)) write(target, blob);
        mkdirSync(dirname(pointer), { recursive: true });
        symlinkSync(relative(dirname(pointer), target), pointer);
      }
  }
  return { env: { HF_HUB_CACHE: cache }, cache };
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const twoRevisions = {
  refs: { main: first, "refs/pr/1": second },
  commits: {
    [first]: { "a.json": "shared", "sub/b.bin": "old" },
    [second]: { "a.json": "shared", "sub/b.bin": "new" },
  },
};

describe("deleteCached of a revision", () => {
  const make = () => {
    const made = cacheOf({ "me/mine": twoRevisions, "me/other": twoRevisions });
    return { ...made, root: join(made.cache, "models--me--mine") };
  };

  test("deletes the files that only it uses", async () => {
    const { env, root } = make();
    assert.equal(await deleteCached("me/mine", { revision: "refs/pr/1", env }), true);
    assert.deepEqual(readdirSync(join(root, "blobs")).sort(), ["old", "shared"]);
    assert.deepEqual(readdirSync(join(root, "snapshots")), [first]);
    assert.ok(!existsSync(join(root, "refs/refs/pr/1")));
  });

  test("returns false once it is gone", async () => {
    const { env } = make();
    await deleteCached("me/mine", { revision: "refs/pr/1", env });
    assert.equal(await deleteCached("me/mine", { revision: second, env }), false);
  });

  test("deletes the repository with its last revision, and no other repository", async () => {
    const { env, cache } = make();
    await deleteCached("me/mine", { revision: "refs/pr/1", env });
    assert.equal(await deleteCached("me/mine", { revision: "main", env }), true);
    assert.deepEqual(readdirSync(cache), ["models--me--other"]);
    const blobs = join(cache, "models--me--other", "blobs");
    assert.deepEqual(readdirSync(blobs).sort(), ["new", "old", "shared"]);
  });

  test("deletes links that lead outside, not their targets", async () => {
    const { env, root } = make();
    const outside = mkdtempSync(join(temporary, "outside-"));
    write(join(outside, "blobs", "precious"), "precious");
    symlinkSync(join(outside, "blobs", "precious"), join(root, "snapshots", second, "file"));
    assert.equal(await deleteCached("me/mine", { revision: second, env }), true);
    assert.ok(existsSync(join(outside, "blobs", "precious")));
    assert.ok(!existsSync(join(root, "snapshots", second)));
  });

  for (const revision of ["..", "../..", "../../..", ".", "", first.slice(0, 7), "../snapshots"])
    test(`returns false for ${JSON.stringify(revision)}, which is not a revision`, async () => {
      const { env, root } = make();
      assert.equal(await deleteCached("me/mine", { revision, env }), false);
      assert.equal(readdirSync(join(root, "snapshots")).length, 2);
    });

  test("refuses a snapshot that is a link", async () => {
    const { env, root } = make();
    const linked = "3".repeat(40);
    symlinkSync(join(root, "snapshots", second), join(root, "snapshots", linked));
    await assert.rejects(deleteCached("me/mine", { revision: linked, env }), /is a link or a file/);
    assert.ok(lstatSync(join(root, "snapshots", second, "a.json")).isSymbolicLink());
  });
});

describe("deleteCached of a repository", () => {
  test("deletes it, not the targets of links that lead outside", async () => {
    const { env, cache } = cacheOf({ "me/mine": twoRevisions, gpt2: twoRevisions });
    const outside = mkdtempSync(join(temporary, "outside-"));
    write(join(outside, "precious"), "precious");
    const root = join(cache, "models--me--mine");
    symlinkSync(join(outside, "precious"), join(root, "snapshots", first, "file"));
    symlinkSync(outside, join(root, "snapshots", first, "folder"));
    symlinkSync(outside, join(root, "snapshots", "3".repeat(40)));
    assert.equal(await deleteCached("me/mine", { env }), true);
    assert.deepEqual(readdirSync(cache), ["models--gpt2"]);
    assert.deepEqual(readdirSync(outside), ["precious"]);
  });

  test("returns false once it is gone", async () => {
    const { env } = cacheOf({ "me/mine": twoRevisions });
    await deleteCached("me/mine", { env });
    assert.equal(await deleteCached("me/mine", { env }), false);
  });

  test("accepts the name of an old repository without an owner", async () => {
    const { env } = cacheOf({ gpt2: twoRevisions });
    assert.equal(await deleteCached("gpt2", { env }), true);
  });

  for (const name of ["..", "../x", "me/..", "me/../mine", "/etc", "me/a/b", "me--mine", "", ".", "me\\mine"])
    test(`refuses ${JSON.stringify(name)}, which is not the name of a repository`, async () => {
      const { env } = cacheOf({ "me/mine": twoRevisions });
      write(join(temporary, "models--x", "file"), "x");
      await assert.rejects(deleteCached(name, { env }), ModelError);
    });

  test("refuses a folder that is a link", async () => {
    const { env, cache } = cacheOf({ "me/mine": twoRevisions });
    symlinkSync(join(cache, "models--me--mine"), join(cache, "models--me--moved"));
    await assert.rejects(deleteCached("me/moved", { env }), /is a link or a file, not a cache folder/);
  });
});

describe("cachedModels", () => {
  const listed = async (env: NodeJS.ProcessEnv) =>
    (await cachedModels(identifyModel, env)).map(({ repository, family, hasModelIndex }) => [
      repository,
      family,
      hasModelIndex,
    ]);

  /** Adds the bundled model to a cache; returns its snapshot. */
  const addTinyWorld = (cache: string, repository: string): string => {
    const root = join(cache, `models--${repository.replace("/", "--")}`);
    cpSync(tinyWorld, join(root, "snapshots", first), { recursive: true });
    write(join(root, "refs", "main"), first);
    return join(root, "snapshots", first);
  };

  test("lists a complete model of a family", async () => {
    const { env, cache } = cacheOf({});
    addTinyWorld(cache, "me/whole");
    assert.deepEqual(await listed(env), [["me/whole", "flux1-depth", true]]);
  });

  test("lists a model whose component has only a variant of its weights", async () => {
    const { env, cache } = cacheOf({});
    const weights = join(addTinyWorld(cache, "me/half"), "transformer", "diffusion_pytorch_model");
    cpSync(`${weights}.safetensors`, `${weights}.fp16.safetensors`);
    rmSync(`${weights}.safetensors`);
    assert.deepEqual(await listed(env), [["me/half", "flux1-depth", true]]);
  });

  test("leaves out a model without one of its weights", async () => {
    const { env, cache } = cacheOf({});
    rmSync(join(addTinyWorld(cache, "me/partial"), "vae/diffusion_pytorch_model.safetensors"));
    assert.deepEqual(await listed(env), []);
  });

  test("leaves out a model with a single component", async () => {
    const { env, cache } = cacheOf({});
    const snapshot = addTinyWorld(cache, "me/begun");
    for (const name of readdirSync(snapshot))
      if (name !== "transformer") rmSync(join(snapshot, name), { recursive: true });
    assert.deepEqual(await listed(env), []);
  });

  test("lists other models with their folder and the size of all revisions", async () => {
    const { env, cache } = cacheOf({ "me/other": twoRevisions });
    assert.deepEqual(await cachedModels(identifyModel, env), [
      {
        repository: "me/other",
        folder: join(cache, "models--me--other", "snapshots", first),
        revision: first,
        bytes: "shared".length + "old".length + "new".length + 2 * first.length,
        family: null,
        hasModelIndex: false,
      },
    ]);
  });

  test("leaves out repositories without files, and datasets", async () => {
    const { env, cache } = cacheOf({
      "me/gone": { commits: { [first]: { "a.json": "blob" } } },
      "me/empty": { commits: {} },
    });
    rmSync(join(cache, "models--me--gone", "blobs", "blob"));
    write(join(cache, "datasets--me--data", "refs", "main"), first);
    assert.deepEqual(await listed(env), []);
  });

  test("sorts models by name", async () => {
    const { env, cache } = cacheOf({ "me/other": twoRevisions });
    for (const name of ["me/whole", "me/half"]) addTinyWorld(cache, name);
    assert.deepEqual(
      (await listed(env)).map(([repository]) => repository),
      ["me/half", "me/other", "me/whole"],
    );
  });

  test("lists nothing without a cache", async () =>
    assert.deepEqual(await listed({ HF_HUB_CACHE: join(temporary, "nowhere") }), []));
});
