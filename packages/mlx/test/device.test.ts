import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import * as mx from "../src/index.js";
import { refuses, same } from "./support/assertions.js";
import { source, until } from "./support/process.js";

describe("device", () => {
  test("peakRate measures the instructions that the processor has", () => {
    refuses(() => mx.peakRate("float64" as "float32"), "peakRate", "unknown arithmetic");
    const [float32, bfloat16, int8] = (["float32", "bfloat16", "int8"] as const).map(mx.peakRate) as [
      number,
      number,
      number,
    ];
    // An instruction computes one, two or four times as many products; a busy machine blurs the ratio.
    if (bfloat16 > 0) assert.ok(bfloat16 > float32 / 4 && bfloat16 < 16 * float32, `${bfloat16} ${float32}`);
    if (int8 > 0) assert.ok(int8 > float32 && int8 < 16 * float32, `${int8} ${float32}`);
    if (process.platform === "linux" && process.arch === "x64") {
      // Bounds far from the rate of any core; a loop that is optimized away exceeds them.
      const perThread = float32 / mx.backend().blas.threads;
      if (float32 > 0) assert.ok(perThread > 1e9 && perThread < 1e12, `${perThread}`);
    } else {
      assert.equal(float32, 0);
    }
  });

  test("backend describes this MLX", () => {
    const { name, version, library, blas } = mx.backend();
    assert.match(version, /^\d+\.\d+\.\d+/);
    assert.ok(existsSync(library), library);
    assert.equal(name === "cpu", !mx.isAvailable("gpu"));
    assert.ok(mx.isAvailable("cpu"));
    assert.equal(mx.defaultDevice(), name === "cpu" ? "cpu" : "gpu");
    assert.equal(typeof mx.deviceInfo("cpu").architecture, "string");
    if (name === "cpu" && process.platform === "linux") {
      using product = mx.matmul(mx.ones([8, 8]), mx.ones([8, 8]));
      mx.evaluateSync(product);
      assert.ok(mx.backend().blas.calls > blas.calls, "matrix products go through our entry point");
      assert.ok(blas.threads >= 1);
    }
  });

  test("setThreads starts threads and leaves surplus ones idle", {
    skip: process.platform === "linux" ? false : "Linux only",
  }, async () => {
    const before = mx.backend().blas.threads;
    const workers = (): string[] =>
      readdirSync("/proc/self/task").filter(
        (id) => readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim() === "mlx-gemm",
      );
    const ticks = (id: string): number => {
      const fields = readFileSync(`/proc/self/task/${id}/stat`, "utf8").split(") ")[1]!.split(" ");
      return Number(fields[11]) + Number(fields[12]);
    };
    using a = mx.random.normal([1024, 1024], { key: mx.random.key(1) });
    const product = (threads: number): Float32Array => {
      mx.setThreads(threads);
      assert.equal(mx.backend().blas.threads, threads);
      return mx.scope(() => mx.matmul(a, a).toTypedArray()) as Float32Array;
    };
    try {
      const alone = product(1);
      const three = product(3);
      // On a busy machine they may not have started yet.
      await until(() => workers().length >= 2);
      for (const [i, value] of alone.entries()) assert.ok(Math.abs(value - three[i]!) < 1e-3);
      const used = workers().map((id) => [id, ticks(id)] as const);
      for (let i = 0; i < 20; i++) product(1);
      // A late thread may still have searched for work; these products take many ticks.
      for (const [id, was] of used)
        assert.ok(ticks(id) - was <= 1, `surplus threads must be idle: ${ticks(id) - was} ticks`);
      for (const wrong of [0, 65, -1, 1.5]) refuses(() => mx.setThreads(wrong), "setThreads");
    } finally {
      mx.setThreads(before);
    }
  });

  test("missing devices and streams are rejected", () => {
    if (!mx.isAvailable("gpu")) {
      refuses(() => mx.setDefaultDevice("gpu"), "setDefaultDevice", "gpu", mx.backend().name);
      refuses(() => mx.newStream("gpu"), "newStream", "gpu");
    }
    // @ts-expect-error: not a device
    refuses(() => mx.newStream("tpu"), "newStream", "tpu");
    refuses(() => mx.setDefaultStream({ index: 9999, device: "cpu" }), "setDefaultStream", "9999");
    mx.setDefaultDevice("cpu");
    assert.equal(mx.metal.isAvailable(), mx.backend().name === "metal");
  });

  test("operations move between streams", async () => {
    const usual = mx.defaultStream("cpu");
    const other = mx.newStream("cpu");
    assert.notEqual(other.index, usual.index);
    mx.setDefaultStream(other);
    assert.deepEqual(mx.defaultStream("cpu"), other);
    const a = mx.add(mx.ones([2]), 1);
    mx.setDefaultStream(usual);
    const b = mx.add(a, 1);
    await mx.evaluate(b);
    mx.synchronize();
    same(b, [3, 3]);
    same(a, [2, 2]);
  });

  test("memory counters follow allocations and the cache", () => {
    mx.memory.clearCache();
    assert.equal(mx.memory.cacheMemory(), 0);
    const before = mx.memory.activeMemory();
    mx.memory.resetPeakMemory();
    const a = mx.full([2 ** 18], 1);
    mx.evaluateSync(a);
    assert.equal(mx.memory.activeMemory() - before, 2 ** 20);
    assert.ok(mx.memory.peakMemory() >= 2 ** 20);
    a.dispose();
    assert.equal(mx.memory.activeMemory(), before);
    assert.ok(mx.memory.cacheMemory() >= 2 ** 20);
    const limit = mx.memory.setCacheLimit(0);
    assert.equal(mx.memory.setCacheLimit(limit), 0);
    mx.memory.clearCache();
    assert.equal(mx.memory.cacheMemory(), 0);
    for (const wrong of [-1, 1.5, Number.NaN, 2 ** 60])
      refuses(() => mx.memory.setCacheLimit(wrong), "setCacheLimit", String(wrong));
  });

  test("buffers are kept up to the largest limit, until the last keeper ends", () => {
    const { cacheLimit: limit } = mx.memory;
    const resting = limit();
    const first = mx.memory.keepBuffers(4e6);
    const second = mx.memory.keepBuffers(9e6);
    assert.equal(limit(), 9e6);
    first[Symbol.dispose]();
    assert.equal(limit(), 9e6);
    const third = mx.memory.keepBuffers(2e6);
    second[Symbol.dispose]();
    assert.equal(limit(), 2e6);
    third[Symbol.dispose]();
    assert.equal(limit(), resting);
    third[Symbol.dispose]();
    assert.equal(limit(), resting);
  });
});

/** Runs a module in a worker, with the library as `mx`; returns its last message. */
async function inWorker(code: string): Promise<unknown> {
  const text = `
    import { parentPort } from "node:worker_threads";
    import * as mx from ${JSON.stringify(source("index"))};
    ${code}`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`));
  let message: unknown;
  worker.on("message", (value) => {
    message = value;
  });
  const [status] = (await once(worker, "exit")) as [number];
  assert.equal(status, 0);
  return message;
}

describe("threads", () => {
  test("use the library concurrently", async () => {
    const work = `
      mx.random.seed(SEED);
      const a = mx.full([128, 128], SEED / 128);
      let b = mx.eye(128);
      for (let i = 0; i < 20; i++) { b = mx.matmul(b, a); if (i % 5 === 4) await mx.evaluate(b); b = mx.divide(b, SEED); }
      const sum = mx.scope(() => mx.sum(mx.sin(b)).item());
      const [slope] = mx.grad((x) => mx.sum(mx.square(x)))(mx.array([SEED]));
      let failure = "";
      try { mx.matmul(mx.ones([2, 3]), mx.ones([SEED + 3, 5])); } catch (error) { failure = error instanceof mx.MlxError ? error.message : String(error); }
      parentPort.postMessage({ sum, slope: slope.item(), failure });`;
    const here = (async () => {
      const a = mx.full([128, 128], 5 / 128);
      let b = mx.eye(128);
      for (let i = 0; i < 20; i++) {
        b = mx.divide(mx.matmul(b, a), 5);
        await mx.evaluate(b);
      }
      return mx.sum(mx.sin(b)).item();
    })();
    const results = await Promise.all(
      [1, 2, 3, 4].map((seed) => inWorker(work.replaceAll("SEED", String(seed)))),
    );
    // The matrix of equal entries 1 / 128 is its own square.
    const expected = 128 * 128 * Math.sin(1 / 128);
    assert.ok(Math.abs(Number(await here) - expected) < 1e-2);
    for (const [i, result] of results.entries()) {
      const { sum, slope, failure } = result as { sum: number; slope: number; failure: string };
      assert.ok(Math.abs(sum - expected) < 1e-2, `${sum}, expected ${expected}`);
      assert.equal(slope, 2 * (i + 1));
      assert.match(failure, /^matmul: .*\[2,3\]/);
    }
  });

  test("have their own scopes, handles and random sequences", async () => {
    const draw = `mx.random.seed(3); parentPort.postMessage([mx.random.uniform([]).item(), mx.memory.liveHandles()]);`;
    const [first, second] = (await Promise.all([inWorker(draw), inWorker(draw)])) as [number[], number[]];
    assert.deepEqual(first, second);
    assert.equal(first[1], 1);
    mx.random.seed(3);
    assert.equal(mx.random.uniform([]).item(), first[0]);
  });

  test("reuse the streams of ended ones", async () => {
    const code = `await mx.evaluate(mx.add(mx.ones([4]), 1)); parentPort.postMessage(mx.defaultStream("cpu").index);`;
    const streams = new Set<unknown>();
    for (let i = 0; i < 6; i++) streams.add(await inWorker(code));
    assert.equal(streams.size, 1);
  });

  test("exchange values, not arrays", async () => {
    const lazy = mx.add(mx.ones([2]), 1);
    const clone: unknown = structuredClone(lazy);
    assert.equal(mx.isArray(clone), false);
    refuses(() => mx.add(clone as mx.MxArray, 1), "add", "expected an array");
    same(lazy, [2, 2]);
    const data = structuredClone(lazy.toTypedArray());
    same(mx.array(data), [2, 2]);
    assert.deepEqual(
      await inWorker("parentPort.postMessage(mx.exp(mx.zeros([3])).toTypedArray());"),
      new Float32Array([1, 1, 1]),
    );
  });
});
