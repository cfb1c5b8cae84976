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
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ModelError } from "../../src/errors.js";
import { identifyModel } from "../../src/families/identify.js";
import { cachedModels, deleteCached } from "../../src/hub/cached-models.js";

const temporary = mkdtempSync(join(tmpdir(), "cached-"));
after(() => rmSync(temporary, { recursive: true }));

const [first, second] = ["1".repeat(40), "2".repeat(40)] as const;
const tinyWorld = fileURLToPath(new URL("../../../models/tiny-world", import.meta.url));

/** A cache as Python's library leaves it: per repository and commit, files and the names of their blobs. */
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

test("a revision goes with its own blobs; those that the other has stay", async () => {
  const { env, cache } = cacheOf({ "me/mine": twoRevisions, "me/other": twoRevisions });
  const root = join(cache, "models--me--mine");
  assert.equal(await deleteCached("me/mine", { revision: "refs/pr/1", env }), true);
  assert.deepEqual(readdirSync(join(root, "blobs")).sort(), ["old", "shared"]);
  assert.deepEqual(readdirSync(join(root, "snapshots")), [first]);
  assert.ok(!existsSync(join(root, "refs/refs/pr/1")));
  assert.equal(await deleteCached("me/mine", { revision: second, env }), false);
  assert.equal(await deleteCached("me/mine", { revision: "main", env }), true);
  assert.deepEqual(readdirSync(cache), ["models--me--other"], "the last revision takes the repository along");
  assert.deepEqual(readdirSync(join(cache, "models--me--other", "blobs")).sort(), ["new", "old", "shared"]);
});

test("a repository goes as a whole; what its links lead to outside of it stays", async () => {
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
  assert.equal(await deleteCached("me/mine", { env }), false);
  assert.equal(await deleteCached("gpt2", { env }), true);
});

test("one revision with links to the outside: they go, what they lead to stays", async () => {
  const { env, cache } = cacheOf({ "me/mine": twoRevisions });
  const outside = mkdtempSync(join(temporary, "outside-"));
  write(join(outside, "blobs", "precious"), "precious");
  symlinkSync(
    join(outside, "blobs", "precious"),
    join(cache, "models--me--mine", "snapshots", second, "file"),
  );
  assert.equal(await deleteCached("me/mine", { revision: second, env }), true);
  assert.ok(existsSync(join(outside, "blobs", "precious")));
  assert.ok(!existsSync(join(cache, "models--me--mine", "snapshots", second)));
});

test("names that lead elsewhere, and links in place of folders, are refused", async () => {
  const { env, cache } = cacheOf({ "me/mine": twoRevisions });
  write(join(temporary, "models--x", "file"), "x");
  for (const name of ["..", "../x", "me/..", "me/../mine", "/etc", "me/a/b", "me--mine", "", ".", "me\\mine"])
    await assert.rejects(deleteCached(name, { env }), ModelError, name);
  for (const revision of ["..", "../..", "../../..", ".", "", first.slice(0, 7), "../snapshots"])
    assert.equal(await deleteCached("me/mine", { revision, env }), false, revision);
  assert.equal(readdirSync(join(cache, "models--me--mine", "snapshots")).length, 2);

  const elsewhere = join(cache, "models--me--mine");
  symlinkSync(elsewhere, join(cache, "models--me--moved"));
  await assert.rejects(deleteCached("me/moved", { env }), /is a link or a file, not a cache folder/);
  symlinkSync(join(elsewhere, "snapshots", second), join(elsewhere, "snapshots", "3".repeat(40)));
  await assert.rejects(deleteCached("me/mine", { revision: "3".repeat(40), env }), /is a link or a file/);
  assert.ok(lstatSync(join(elsewhere, "snapshots", second, "a.json")).isSymbolicLink());
});

test("listed are whole FLUX.1 repositories, with their size on the disk, and others as they are", async () => {
  const { env, cache } = cacheOf({
    "me/other": twoRevisions,
    "me/gone": { commits: { [first]: { "a.json": "blob" } } },
    "me/empty": { commits: {} },
  });
  rmSync(join(cache, "models--me--gone", "blobs", "blob"));
  write(join(cache, "datasets--me--data", "refs", "main"), first);
  for (const name of ["whole", "part", "begun", "half"]) {
    const root = join(cache, `models--me--${name}`);
    cpSync(tinyWorld, join(root, "snapshots", first), { recursive: true });
    write(join(root, "refs", "main"), first);
  }
  const snapshot = (name: string): string => join(cache, `models--me--${name}`, "snapshots", first);
  rmSync(join(snapshot("part"), "vae/diffusion_pytorch_model.safetensors"));
  for (const name of readdirSync(snapshot("begun")))
    if (name !== "transformer") rmSync(join(snapshot("begun"), name), { recursive: true });
  const weights = join(snapshot("half"), "transformer", "diffusion_pytorch_model");
  cpSync(`${weights}.safetensors`, `${weights}.fp16.safetensors`);
  rmSync(`${weights}.safetensors`);

  const models = await cachedModels(identifyModel, env);
  assert.deepEqual(
    models.map(({ repository, family, hasModelIndex }) => [repository, family, hasModelIndex]),
    [
      ["me/half", "flux1-depth", true],
      ["me/other", null, false],
      ["me/whole", "flux1-depth", true],
    ],
  );
  const other = models.find(({ repository }) => repository === "me/other")!;
  assert.equal(other.bytes, "shared".length + "old".length + "new".length + 2 * first.length);
  assert.equal(other.folder, join(cache, "models--me--other", "snapshots", first));
  assert.deepEqual(await cachedModels(identifyModel, { HF_HUB_CACHE: join(cache, "nowhere") }), []);
});
