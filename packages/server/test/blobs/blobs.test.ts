import assert from "node:assert/strict";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, type TestContext, test } from "node:test";
import { Blobs } from "../../src/blobs/blobs.js";
import { FileStore } from "../../src/blobs/file-store.js";
import type { Ledger } from "../../src/ledger/ledger.js";
import { newReserve, temporaryFolder } from "../support/folder.js";
import { newJob, newLedger } from "../support/ledger.js";
import { depthMap, photo } from "../support/pictures.js";
import { withClaimedSize } from "../support/png.js";

async function newBlobs(t: TestContext): Promise<{ blobs: Blobs; files: FileStore; ledger: Ledger }> {
  const folder = temporaryFolder(t);
  const files = new FileStore(join(folder, "files"), newReserve(t));
  await files.open();
  const ledger = newLedger(t, folder);
  return { blobs: new Blobs(ledger, files), files, ledger };
}

describe("uploaded pictures", () => {
  test("are described by their content, and returned unchanged", async (t) => {
    const { blobs } = await newBlobs(t);
    const { blob, created } = await blobs.put(Readable.from([Buffer.from(photo())]));
    assert.equal(created, true);
    const { mime, width, height, bytes } = blob;
    assert.deepEqual(
      { mime, width, height, bytes },
      { mime: "image/jpeg", width: 512, height: 512, bytes: photo().length },
    );
    assert.deepEqual(Buffer.from((await blobs.open(blob.id)).bytes), Buffer.from(photo()));
    assert.deepEqual(blobs.get(blob.id), blob);
  });

  test("are stored once", async (t) => {
    const { blobs, files } = await newBlobs(t);
    const first = await blobs.put(photo());
    const second = await blobs.put(photo());
    assert.deepEqual(second, { ...first, created: false });
    assert.equal((await files.list()).length, 1);
  });

  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>');
  for (const [what, bytes] of [
    ["SVG", svg],
    ["HTML", Buffer.from("<!doctype html><script>alert(1)</script>")],
    ["nothing", Buffer.alloc(0)],
    ["a cut off JPEG", photo().subarray(0, 20_000)],
    ["random bytes", Buffer.alloc(5000, 0xa7)],
  ] as const)
    test(`refuse ${what}, and keep nothing of it`, async (t) => {
      const { blobs, files } = await newBlobs(t);
      await assert.rejects(blobs.put(bytes), { name: "ServiceError", code: "unsupported_image" });
      assert.deepEqual(await files.list(), []);
    });

  test("refuse a picture with too many pixels, and keep nothing of it", async (t) => {
    const { blobs, files } = await newBlobs(t);
    await assert.rejects(blobs.put(photo(), { bytes: 1e6, pixels: 512 * 511 }), { code: "image_too_large" });
    assert.deepEqual(await files.list(), []);
  });

  test("refuse what claims to have more than 100 megapixels, before decoding it", async (t) => {
    const { blobs, files } = await newBlobs(t);
    await assert.rejects(blobs.put(withClaimedSize(depthMap, 20_000, 6000)), {
      code: "image_too_large",
      message: /20000 × 6000/,
    });
    assert.deepEqual(await files.list(), []);
  });

  test("refuse a file with too many bytes", async (t) => {
    const { blobs } = await newBlobs(t);
    await assert.rejects(blobs.put(photo(), { bytes: 1000, pixels: 1e6 }), { code: "image_too_large" });
  });

  for (const id of ["", "sha256-", "../ledger.db", `sha256-${"0".repeat(64)}`, `sha256-${"/".repeat(64)}`])
    test(`are not found by ${JSON.stringify(id.slice(0, 20))}`, async (t) => {
      const { blobs } = await newBlobs(t);
      assert.throws(() => blobs.get(id), { code: "not_found" });
    });
});

describe("a picture that came inside a request", () => {
  test("is there while someone holds it", async (t) => {
    const { blobs, files } = await newBlobs(t);
    const first = await blobs.lend(photo());
    const second = await blobs.lend(photo());
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    assert.deepEqual(Buffer.from((await blobs.open(second.blob.id)).bytes), Buffer.from(photo()));
    second[Symbol.dispose]();
    assert.throws(() => blobs.get(second.blob.id), { code: "not_found" });
    assert.deepEqual(await files.list(), []);
  });

  test("stays for a job that uses it", async (t) => {
    const { blobs, ledger } = await newBlobs(t);
    const lent = await blobs.lend(photo());
    const job = newJob();
    ledger.write(() => {
      ledger.jobs.insert(job);
      ledger.files.useBlob(job.id, lent.blob.id.replace("sha256-", ""));
    });
    lent[Symbol.dispose]();
    assert.deepEqual(blobs.get(lent.blob.id), lent.blob);
  });

  test("stays if it was uploaded too, before or meanwhile", async (t) => {
    const { blobs } = await newBlobs(t);
    for (const upload of ["before", "meanwhile"]) {
      if (upload === "before") await blobs.put(photo());
      const lent = await blobs.lend(photo());
      if (upload === "meanwhile") await blobs.put(photo());
      lent[Symbol.dispose]();
      assert.deepEqual(blobs.get(lent.blob.id), lent.blob, upload);
    }
  });

  test("leaves nothing if it is refused", async (t) => {
    const { blobs, files } = await newBlobs(t);
    await assert.rejects(blobs.lend(Buffer.from("text")), { code: "unsupported_image" });
    assert.deepEqual([await files.list(), blobs.lent], [[], []]);
  });
});
