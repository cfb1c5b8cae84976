/*
 * Programs for exit.test.ts, each run in its own process: `node exit-scenarios.js NAME`.
 * exit.test.ts lists their expected exit codes.
 */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import * as mx from "../../src/index.js";

/** Matrix products one after another, each large enough for all threads; every element of the result is 1. */
function products(count: number, size = 512): mx.MxArray {
  const m = mx.full([size, size], 1 / size);
  let result = mx.ones([size, size]);
  for (let i = 0; i < count; i++) result = mx.matmul(result, m);
  return result;
}

function sines(count: number): mx.MxArray {
  let result = mx.ones([1 << 20]);
  for (let i = 0; i < count; i++) result = mx.sin(result);
  return result;
}

function check(result: mx.MxArray): void {
  const values = result.toTypedArray() as Float32Array;
  assert.ok(values.every((value) => Math.abs(value - 1) < 1e-3));
}

/** Starts work without waiting for it. */
const leave = (result: mx.MxArray): void => void mx.evaluate(result).catch(() => undefined);

/** Work for minutes: waiting for it counts as a hang. */
const endless = {
  products: () => products(2500, 2048),
  elementwise: () => sines(5000),
};

const start = (name: string): Worker => new Worker(fileURLToPath(import.meta.url), { workerData: name });

async function exitOf(worker: Worker): Promise<number> {
  const [code] = (await once(worker, "exit")) as [number];
  return code;
}

/** Programs of worker threads. */
const inWorker: Record<string, () => void | Promise<void>> = {
  works: () => check(products(3)),
  exits: () => {
    leave(endless.products());
    setTimeout(() => process.exit(5), 20);
  },
  throws: () => {
    leave(endless.products());
    setTimeout(() => {
      throw new Error("in the worker");
    }, 20);
  },
  leaves: () => leave(products(10)),
  "is busy": () => {
    leave(endless.products());
    parentPort?.postMessage("busy");
  },
  "is busy in one call": () => {
    parentPort?.postMessage("busy");
    // Short ones, because a busy machine may delay the termination until one ends.
    for (;;) mx.scope(() => mx.evaluateSync(products(40)));
  },
};

const inMain: Record<string, () => void | Promise<void>> = {
  "natural end": () => check(products(3)),
  "natural end with a code": () => {
    check(products(2));
    process.exitCode = 7;
  },
  "natural end with work pending": () => leave(products(10)),
  "natural end with lazy arrays": () => void products(5),
  "process.exit with products pending": () => {
    leave(endless.products());
    setTimeout(() => process.exit(3), 30);
  },
  "process.exit with elementwise work pending": () => {
    leave(endless.elementwise());
    setTimeout(() => process.exit(3), 30);
  },
  "process.exit from a signal handler": () => {
    process.on("SIGINT", () => process.exit(130));
    leave(endless.products());
    setTimeout(() => process.kill(process.pid, "SIGINT"), 30);
  },
  "throw with work pending": () => {
    leave(endless.products());
    setTimeout(() => {
      throw new Error("uncaught");
    }, 30);
  },
  "work only in a worker": async () => {
    assert.equal(await exitOf(start("works")), 0);
    process.exitCode = 4;
  },
  "four workers at once": async () => {
    const workers = ["works", "works", "works", "works"].map(start);
    assert.deepEqual(await Promise.all(workers.map(exitOf)), [0, 0, 0, 0]);
  },
  "a worker calls process.exit": async () => {
    assert.equal(await exitOf(start("exits")), 5);
    check(products(2));
  },
  "a worker throws": async () => {
    const worker = start("throws");
    const [error] = (await once(worker, "error")) as [Error];
    assert.equal(error.message, "in the worker");
    check(products(2));
  },
  "a worker leaves work": async () => {
    assert.equal(await exitOf(start("leaves")), 0);
  },
  "a worker is terminated": async () => {
    for (const name of ["is busy", "is busy in one call"]) {
      const worker = start(name);
      await once(worker, "message");
      await sleep(20);
      assert.equal(await worker.terminate(), 1);
    }
    check(products(2));
  },
  "process.exit while a worker is busy": async () => {
    await once(start("is busy"), "message");
    setTimeout(() => process.exit(6), 20);
  },
  "child processes during products": async () => {
    const result = products(30);
    const evaluated = mx.evaluate(result);
    await sleep(10);
    const forks = ["0", "1", "2"].map((text) => promisify(execFile)("/bin/echo", [text]));
    assert.equal(execFileSync("/bin/echo", ["child"], { encoding: "utf8" }), "child\n");
    assert.deepEqual(
      (await Promise.all(forks)).map(({ stdout }) => stdout),
      ["0\n", "1\n", "2\n"],
    );
    await evaluated;
    check(result);
  },
};

const scenario = isMainThread ? inMain[process.argv[2] ?? ""] : inWorker[workerData as string];
if (!scenario) throw new Error(`no scenario ${process.argv[2]}`);
await scenario();
