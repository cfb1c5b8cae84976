import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  assertComplete,
  full,
  HubFixture,
  modelError,
  repository,
  transformer,
  transformerEtag,
} from "../support/hub-fixture.js";
import { etagOf } from "../support/hub-server.js";

const fixture = new HubFixture();
let commit: string;
beforeEach(() => {
  commit = fixture.hub.host(repository, full);
});

const linuxOnly = { skip: process.platform !== "linux", timeout: 120_000 };
const lockFile = (): string =>
  join(fixture.home, "hub", ".locks", "models--someone--tiny", `${transformerEtag}.lock`);

describe("the cache", () => {
  test("has the layout of Python's library", async () => {
    const found = await fixture.obtain();
    assert.deepEqual(found, {
      name: repository,
      folder: join(fixture.root, "snapshots", commit),
      revision: commit,
    });
    assertComplete(found);
    assert.equal(readlinkSync(join(found.folder, transformer)), `../../../blobs/${transformerEtag}`);
    const index = "model_index.json";
    assert.equal(
      readlinkSync(join(found.folder, index)),
      `../../blobs/${etagOf(index, Buffer.from(full[index]!))}`,
    );
    assert.equal(readFileSync(join(fixture.root, "refs", "main"), "utf8"), commit);
    assert.ok(existsSync(lockFile()));
    assert.deepEqual(await fixture.partialBlobs(), []);
  });

  test("links blobs that it has without downloading them", async () => {
    const { folder } = await fixture.obtain();
    for (const file of ["vae/config.json", "text_encoder_2/model-00002-of-00002.safetensors", "tokenizer"])
      await rm(join(folder, file), { recursive: true });
    fixture.hub.forget();
    assertComplete(await fixture.obtain());
    assert.deepEqual(fixture.hub.resolved(), []);
  });

  test("gets each file once from two downloads at a time", async () => {
    await Promise.all([fixture.obtain(), fixture.obtain()]);
    const cdn = fixture.hub.asked.filter((asked) => asked.cdn);
    assert.equal(new Set(cdn.map(({ path }) => path)).size, cdn.length);
  });

  test("waits for the lock that Python's library takes", linuxOnly, async () => {
    await mkdir(dirname(lockFile()), { recursive: true });
    const holder = spawn("flock", [lockFile(), "sh", "-c", "echo held; read line"]);
    await Promise.race([once(holder.stdout, "data"), once(holder, "exit")]);
    let done = false;
    const download = fixture.obtain().then((found) => {
      done = true;
      return found;
    });
    await sleep(500);
    assert.equal(done, false);
    assert.ok(!fixture.hub.resolved().includes(transformer));
    holder.stdin.end("\n");
    assertComplete(await download);
  });
});

describe("a blob", () => {
  const flip = (bytes: Buffer): Buffer => {
    bytes[5]! ^= 1;
    return bytes;
  };

  test("that does not match its hash is refused, and downloaded again later", async () => {
    fixture.hub.fault = ({ path }) => (path.endsWith(transformerEtag) ? { body: flip } : undefined);
    await assert.rejects(fixture.obtain(), modelError(/the content of .* does not match its hash/));
    assert.ok(!existsSync(fixture.blob(transformerEtag)));
    fixture.hub.forget();
    assertComplete(await fixture.obtain());
  });

  test("that is damaged is found out after resuming, and starts over", async () => {
    await mkdir(join(fixture.root, "blobs"), { recursive: true });
    await writeFile(fixture.partialBlob(transformerEtag), Buffer.alloc(123_456));
    assertComplete(await fixture.obtain());
    assert.deepEqual(fixture.transformerRanges(), ["bytes=123456-", undefined]);
  });

  test("of the wrong size is replaced", async () => {
    await mkdir(join(fixture.root, "blobs"), { recursive: true });
    await writeFile(fixture.blob(transformerEtag), "short");
    await writeFile(fixture.partialBlob(transformerEtag), Buffer.alloc(400_000));
    assertComplete(await fixture.obtain());
  });
});

describe("a disk", () => {
  test("that fills up is reported; a later download resumes", linuxOnly, async () => {
    await mkdir(join(fixture.root, "blobs"), { recursive: true });
    // Every write to this file finds the disk full.
    await symlink("/dev/full", fixture.partialBlob(transformerEtag));
    await assert.rejects(
      fixture.obtain(),
      modelError(/the disk of .* is full; free some space, or set HF_HOME/),
    );
    assert.ok(!existsSync(fixture.blob(transformerEtag)));
    await rm(fixture.partialBlob(transformerEtag));
    assertComplete(await fixture.obtain());
  });

  test("that is too small is reported before the download", async () => {
    fixture.hub.fault = ({ path }) =>
      path.includes("/tree/")
        ? { body: (bytes) => Buffer.from(bytes.toString().replaceAll('"size":300000', '"size":3e15')) }
        : undefined;
    await assert.rejects(
      fixture.obtain(),
      modelError(/needs 3000000\.\d GB, but the disk of .* has \d+\.\d GB/),
    );
    assert.ok(!fixture.hub.resolved().includes(transformer));
  });

  test("that is not connected is reported", async () => {
    const link = join(fixture.home, "cache");
    await symlink(join(fixture.home, "unplugged", "cache"), link);
    await assert.rejects(
      fixture.obtain({}, { env: { ...fixture.environment, HF_HOME: link } }),
      modelError(/cache.* cannot be created \(E\w+\); set HF_HOME to a writable folder/),
    );
  });

  test("that is a file is reported", async () => {
    const file = join(fixture.home, "file");
    await writeFile(file, "");
    for (const place of [file, "/dev/null"])
      await assert.rejects(
        fixture.obtain({}, { env: { ...fixture.environment, HF_HOME: place } }),
        modelError(/ cannot be created \(E\w+\); set HF_HOME to a writable folder/),
      );
  });

  test("that is a link to itself is reported", async () => {
    const link = join(fixture.home, "loop");
    await symlink("loop", link);
    await assert.rejects(
      fixture.obtain({}, { env: { ...fixture.environment, HF_HOME: link } }),
      modelError(/ cannot be created \(E\w+\); set HF_HOME to a writable folder/),
    );
  });

  test("that accepts no folders is reported", linuxOnly, async () => {
    await assert.rejects(
      fixture.obtain({}, { env: { ...fixture.environment, HF_HOME: "/proc/none/of/this" } }),
      modelError(/\/proc\/none cannot be created \(ENOENT\); set HF_HOME to a writable folder/),
    );
  });
});
