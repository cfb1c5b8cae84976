import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import * as mx from "../src/index.js";
import { refuses, rejects, same } from "./support/assertions.js";
import { dense, noise, toArray } from "./support/dense.js";
import { program, source, temporaryFolder, until } from "./support/process.js";

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);

const dtypes: mx.DType[] = [
  ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"],
  ["float16", "bfloat16", "float32", "complex64"],
].flat() as mx.DType[];

/** Number of open descriptors of a file in this process. */
const openOn = (path: string): number =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;

describe("parts of a file", () => {
  const path = file("bytes.bin");
  const bytes = Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * 7) % 256));

  test("are read when they are evaluated, in any order, through one descriptor", {
    skip: process.platform !== "linux",
  }, async () => {
    writeFileSync(path, bytes);
    const parts = mx.loadBytes(path, [
      { start: 500, bytes: 100 },
      { start: 3, bytes: 1 },
      { start: 990, bytes: 10 },
    ]);
    assert.equal(openOn(path), 1);
    await mx.evaluate(parts);
    assert.deepEqual(
      parts.map((part) => Buffer.from(part.toTypedArray() as Uint8Array)),
      [bytes.subarray(500, 600), bytes.subarray(3, 4), bytes.subarray(990)],
    );
    for (const part of parts) part.dispose();
    await until(() => openOn(path) === 0);
  });

  test("cannot be those of a missing file", () => {
    refuses(
      () => mx.loadBytes(file("missing.bin"), [{ start: 0, bytes: 1 }]),
      "loadHeaded",
      "missing.bin cannot be opened",
    );
  });

  test("fail when the file has become shorter", async () => {
    writeFileSync(path, bytes);
    const parts = mx.loadBytes(path, [{ start: 900, bytes: 100 }]);
    writeFileSync(path, bytes.subarray(0, 950));
    await assert.rejects(mx.evaluate(parts), /ended or failed while it was being read/);
  });
});

describe("safetensors", () => {
  test("every dtype and shape and the metadata make a round trip", async () => {
    const arrays = new Map<string, mx.MxArray>();
    for (const dtype of dtypes) arrays.set(`of.${dtype}`, toArray(noise([3, 4], 300, 0, 90), dtype));
    arrays.set("scalar", mx.array(2.5));
    arrays.set("empty", mx.zeros([0, 3]));
    arrays.set("lazy", mx.add(mx.ones([2]), 1));
    arrays.set("transposed", mx.transpose(toArray(noise([2, 3], 301))));
    arrays.set("repeated", mx.broadcastTo(mx.array([1, 2]), [3, 2]));
    arrays.set('ключ 🔑 "x"', mx.ones([1]));
    const metadata = new Map([
      ["format", "mlx"],
      ["text", 'über "alles"\n🖼'],
      ["", "empty key"],
    ]);
    await mx.saveSafetensors(file("all.safetensors"), arrays, metadata);
    const found = mx.loadSafetensors(file("all.safetensors"));
    assert.deepEqual([...found.arrays.keys()].sort(), [...arrays.keys()].sort());
    for (const [name, a] of arrays) {
      const b = found.arrays.get(name)!;
      assert.deepEqual([b.dtype, b.shape], [a.dtype, a.shape], name);
      assert.deepEqual(b.toTypedArray(), a.toTypedArray(), name);
    }
    assert.deepEqual(new Map([...found.metadata].filter(([key]) => metadata.has(key))), metadata);
  });

  test("file names without the extension are kept", async () => {
    for (const name of ["plain", "other.bin", "dots.safetensors.bak"]) {
      await mx.saveSafetensors(file(name), new Map([["a", mx.ones([2])]]));
      assert.ok(existsSync(file(name)));
    }
  });

  test("a write replaces the old file atomically and leaves no other file", async () => {
    const inner = join(folder, "replace");
    mkdirSync(inner);
    const path = join(inner, "a.safetensors");
    await mx.saveSafetensors(path, new Map([["a", mx.ones([1000])]]));
    await mx.saveSafetensors(path, new Map([["b", mx.zeros([2])]]));
    assert.deepEqual([...mx.loadSafetensors(path).arrays.keys()], ["b"]);
    assert.deepEqual(readdirSync(inner), ["a.safetensors"]);
  });

  test("a failed write keeps the old file and leaves no other file", async () => {
    const inner = join(folder, "fails");
    mkdirSync(inner);
    const path = join(inner, "a.safetensors");
    await mx.saveSafetensors(path, new Map([["a", mx.array([1, 2])]]));
    const before = readFileSync(path);

    const unsupported = new Map([["a", mx.zeros([2], "float64")]]);
    await rejects(mx.saveSafetensors(path, unsupported), "saveSafetensors", "dtype");

    // The arrays cannot be computed.
    const source = join(folder, "source.safetensors");
    await mx.saveSafetensors(source, new Map([["a", mx.ones([1000])]]));
    const { arrays } = mx.loadSafetensors(source);
    writeFileSync(source, readFileSync(source).subarray(0, 300));
    await rejects(mx.saveSafetensors(path, arrays), "saveSafetensors", "read");
    refuses(() => arrays.get("a")!.toTypedArray(), "toTypedArray", "not finished");

    // One array is disposed.
    const gone = mx.ones([1]);
    gone.dispose();
    await rejects(mx.saveSafetensors(path, new Map([["a", gone]])), "saveSafetensors", "disposed");

    assert.deepEqual(readdirSync(inner), ["a.safetensors"]);
    assert.deepEqual(readFileSync(path), before);
    same(mx.loadSafetensors(path).arrays.get("a")!, [1, 2]);
  });

  test("a full disk keeps the old file", { skip: process.platform !== "linux" }, async () => {
    const inner = join(folder, "full");
    mkdirSync(inner);
    const path = join(inner, "a.safetensors");
    await mx.saveSafetensors(path, new Map([["a", mx.array([1, 2])]]));
    // A limit on file sizes simulates the full disk: a shell sets it and becomes the program.
    const printed = program(
      `
      import { spawnSync } from "node:child_process";
      const code = ${JSON.stringify(`
        const mx = await import(process.argv[1]);
        process.on("SIGXFSZ", () => {});
        await mx.saveSafetensors(process.argv[2], new Map([["a", mx.ones([2 ** 20])]])).then(
          () => console.log("written"),
          (error) => console.log(error.name, error.operation),
        );`)};
      const child = spawnSync("/bin/sh", ["-c", 'ulimit -f 64; exec "$0" "$@"', process.execPath, "--input-type=module", "-e", code,
        ${JSON.stringify(source("index"))}, ${JSON.stringify(path)}], { encoding: "utf8" });
      console.log(child.stdout + child.stderr);
      `,
    );
    assert.equal(printed, "MlxError saveSafetensors");
    assert.deepEqual(readdirSync(inner), ["a.safetensors"]);
    same(mx.loadSafetensors(path).arrays.get("a")!, [1, 2]);
  });

  test("missing folders and files are errors", async () => {
    await rejects(
      mx.saveSafetensors(join(folder, "missing", "a.safetensors"), new Map([["a", mx.ones([1])]])),
      "saveSafetensors",
      "missing",
    );
    assert.ok(!existsSync(join(folder, "missing")));
    assert.throws(
      () => mx.loadSafetensors(file("missing.safetensors")),
      (error) => {
        assert.ok(error instanceof mx.SafetensorsError && error instanceof mx.MlxError);
        assert.match(error.message, /missing\.safetensors/);
        return true;
      },
    );
    assert.throws(() => mx.loadSafetensors(folder), mx.SafetensorsError);
  });

  test("loading reads bytes when a tensor is evaluated", async () => {
    const path = file("large.safetensors");
    const [megabyte, tensors] = [2 ** 20, 8];
    const arrays = new Map(
      Array.from({ length: tensors }, (_, i) => [`t${i}`, mx.full([megabyte / 4], i)] as const),
    );
    await mx.saveSafetensors(path, arrays);
    for (const a of arrays.values()) a.dispose();
    mx.memory.clearCache();
    const before = mx.memory.activeMemory();
    const loaded = mx.loadSafetensors(path).arrays;
    assert.ok(mx.memory.activeMemory() - before < megabyte / 2);
    const one = loaded.get("t3")!;
    await mx.evaluate(one);
    assert.equal(dense(one).values[megabyte / 8], 3);
    const now = mx.memory.activeMemory() - before;
    assert.ok(now > 0.9 * megabyte && now < 1.5 * megabyte, `${now} bytes for one of ${tensors} tensors`);
    if (process.platform === "linux") {
      assert.equal(openOn(path), 1);
      unlinkSync(path);
      assert.equal(dense(loaded.get("t5")!).values[0], 5, "works after the file is unlinked");
    }
    for (const a of loaded.values()) a.dispose();
  });

  test("the file is closed with its last tensor", { skip: process.platform !== "linux" }, async () => {
    const path = file("closed.safetensors");
    await mx.saveSafetensors(
      path,
      new Map([
        ["a", mx.ones([4])],
        ["b", mx.ones([4])],
      ]),
    );
    for (let i = 0; i < 20; i++) {
      const { arrays } = mx.loadSafetensors(path);
      await mx.evaluate(arrays.get("a"));
      for (const a of arrays.values()) a.dispose();
    }
    // MLX's reading threads close the file shortly after the tensors are read.
    await until(() => openOn(path) === 0);
  });
});
