import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, type TestContext, test } from "node:test";
import { FileStore } from "../../src/blobs/file-store.js";
import { newReserve, temporaryFolder } from "../support/folder.js";

const content = Buffer.from("some content");
const sha256 = createHash("sha256").update(content).digest("hex");

async function storeIn(t: TestContext, folder: string): Promise<FileStore> {
  const store = new FileStore(folder, newReserve(t));
  await store.open();
  return store;
}

const newStore = (t: TestContext): Promise<FileStore> => storeIn(t, temporaryFolder(t));

describe("a store of files", () => {
  test("returns what was added in one piece or in several", async (t) => {
    const store = await newStore(t);
    using whole = await store.add(content);
    using pieces = await store.add(Readable.from([content.subarray(0, 5), content.subarray(5)]));
    assert.deepEqual([whole.sha256, pieces.sha256, pieces.bytes], [sha256, sha256, content.length]);
    assert.deepEqual(Buffer.from(await store.read(sha256)), content);
    assert.deepEqual(await store.list(), [sha256]);
  });

  test("stops at the limit, while content arrives, and leaves nothing", async (t) => {
    const folder = temporaryFolder(t);
    const store = await storeIn(t, folder);
    let sent = 0;
    const endless = Readable.from(
      (function* () {
        for (;;) {
          sent += 1000;
          yield Buffer.alloc(1000);
        }
      })(),
    );
    await assert.rejects(store.add(endless, { limit: 10_000 }), { code: "image_too_large" });
    assert.ok(sent < 100_000);
    assert.deepEqual(readdirSync(join(folder, "incoming")), []);
    assert.deepEqual(await store.list(), []);
  });

  test("leaves nothing of content that breaks off", async (t) => {
    const folder = temporaryFolder(t);
    const store = await storeIn(t, folder);
    const broken = Readable.from(
      (async function* () {
        yield content;
        throw new Error("connection lost");
      })(),
    );
    await assert.rejects(store.add(broken), { message: "connection lost" });
    assert.deepEqual(readdirSync(join(folder, "incoming")), []);
  });

  for (const [what, damage] of [
    ["changed", (path: string) => writeFileSync(path, "some CONTENT")],
    ["cut off", (path: string) => truncateSync(path, 3)],
  ] as const)
    test(`refuses to return a file that was ${what}, until it is added again`, async (t) => {
      const store = await newStore(t);
      using _file = await store.add(content);
      damage(store.pathOf(sha256));
      await assert.rejects(store.read(sha256), { code: "damaged_file" });
      using _again = await store.add(content);
      assert.deepEqual(Buffer.from(await store.read(sha256)), content);
    });

  test("says of a missing file that it is missing, without its path", async (t) => {
    const store = await newStore(t);
    await assert.rejects(store.read(sha256), (error: Error) => {
      assert.match(error.message, /missing/);
      assert.doesNotMatch(error.message, /\//);
      return true;
    });
  });

  test("deletes files that nothing needs, but none that is held", async (t) => {
    const store = await newStore(t);
    const file = await store.add(content);
    store.collect([sha256], () => false);
    assert.equal(existsSync(store.pathOf(sha256)), true);
    file[Symbol.dispose]();
    store.collect([sha256], () => true);
    assert.equal(existsSync(store.pathOf(sha256)), true);
    store.collect([sha256], () => false);
    assert.equal(existsSync(store.pathOf(sha256)), false);
  });

  test("forgets what a killed process left half written", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, "incoming"));
    writeFileSync(join(folder, "incoming", "half"), "hal");
    await storeIn(t, folder);
    assert.deepEqual(readdirSync(join(folder, "incoming")), []);
  });
});
