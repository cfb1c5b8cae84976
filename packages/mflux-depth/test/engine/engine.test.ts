import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Engine, EngineError, type EngineEvent, type EngineJob } from "../../src/engine/index.js";
import { ImageError, ModelError, OptionError } from "../../src/errors.js";
import { HubServer } from "../support/hub-server.js";
import { until } from "../support/waiting.js";

const root = new URL("../../../../../", import.meta.url);
const map = await readFile(new URL("examples/images/cube_depth.png", root));
const load = { model: "tiny-world", quantize: "none" } as const;
const job = (request: Partial<EngineJob["request"]> = {}, more: Partial<EngineJob> = {}): EngineJob => ({
  load,
  request: { prompt: "a red cube", depthImage: map, width: 128, height: 128, steps: 2, seed: 7, ...request },
  ...more,
});

const engine = new Engine();
after(() => engine.close());

/** Resolves at the first event that fits. */
function when(fits: (event: EngineEvent) => boolean): {
  onEvent: (event: EngineEvent) => void;
  seen: Promise<void>;
} {
  let resolve = (): void => {};
  const seen = new Promise<void>((r) => {
    resolve = r;
  });
  return { onEvent: (event) => fits(event) && resolve(), seen };
}

/** The memory of the engine's process, from the system. */
async function residentOf(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)("ps", ["-o", "rss=", "-p", `${pid}`]);
  return Number(stdout) * 1024;
}

test("a picture, its events, and the model kept for the next one", async () => {
  const events: EngineEvent[] = [];
  const first = await engine.generate(job(), { onEvent: (event) => events.push(event) });
  assert.deepEqual([...first.image.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
  assert.deepEqual([first.width, first.height, first.seed, first.format], [128, 128, 7, "png"]);
  assert.equal(events[0]?.type, "started");
  assert.deepEqual(
    events.flatMap((event) => (event.type === "step" ? [[event.index, event.total]] : [])),
    [
      [1, 2],
      [2, 2],
    ],
  );
  assert.ok(events.some((event) => event.type === "load" && event.component === "transformer"));
  assert.equal(engine.held?.model, "tiny-world");

  const again: EngineEvent[] = [];
  const second = await engine.generate(job(), { onEvent: (event) => again.push(event) });
  assert.ok(!again.some((event) => event.type === "load"), "weights are read once");
  assert.deepEqual(await pixels(second.image), await pixels(first.image));

  const other: EngineEvent[] = [];
  await engine.generate(
    { ...job({ steps: 1 }), load: { ...load, memory: "low" } },
    { onEvent: (event) => other.push(event) },
  );
  assert.ok(
    other.some((event) => event.type === "load"),
    "other options are another model",
  );
});

test("the event loop stays free while a picture is made", async () => {
  const began = performance.now();
  let last = began;
  let longest = 0;
  const tick = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  await engine.generate(job());
  clearInterval(tick);
  const whole = performance.now() - began;
  // A busy machine makes gaps longer, and pictures too.
  assert.ok(longest < Math.max(100, whole / 4), `the longest gap was ${longest} of ${whole} ms`);
});

test("errors keep their class, their subject and their sentence", async () => {
  await assert.rejects(
    engine.generate(job({ steps: 51 })),
    (error) =>
      error instanceof OptionError && error.option === "steps" && /1 to 50, not 51/.test(error.message),
  );
  await assert.rejects(
    engine.generate(job({ depthImage: new Uint8Array(100) })),
    (error) => error instanceof ImageError && /not an image that can be read/.test(error.message),
  );
  const { model } = engine.held!;
  await assert.rejects(
    engine.generate({ ...job(), load: { model: "nobody/nothing", offline: true } }),
    (error) =>
      error instanceof ModelError &&
      error.source === "nobody/nothing" &&
      !/nothing: nobody/.test(error.message),
  );
  assert.equal(engine.held?.model, model, "the model before is kept");
});

test("a cancel in any stage ends the job at once and gives the memory back", async () => {
  const began = performance.now();
  await engine.generate(job());
  // At once: on a slow machine, no more than two small jobs take.
  const limit = Math.max(1, (2 * (performance.now() - began)) / 1000);
  const before = await residentOf(engine.pid!);
  for (const stage of ["text", "control", "denoise", "decode"] as const) {
    const controller = new AbortController();
    const { onEvent, seen } = when(
      (event) => event.type === "stage" && event.stage === stage && event.state === "start",
    );
    const reason = new Error(`enough of ${stage}`);
    // The size makes every stage long enough to be met.
    const running = engine.generate(
      job({ prompt: `a cube, ${stage}`, width: 256, height: 256, steps: stage === "decode" ? 1 : 50 }),
      { signal: controller.signal, onEvent },
    );
    const rejected = assert.rejects(running, reason);
    await seen;
    const started = performance.now();
    controller.abort(reason);
    await rejected;
    const seconds = (performance.now() - started) / 1000;
    assert.ok(seconds < limit, `${stage} took ${seconds} s to end, where ${limit} is at once`);
    const grown = (await residentOf(engine.pid!)) - before;
    assert.ok(grown < 60e6, `after ${stage}, ${grown} bytes more than before`);
  }
});

test("jobs run one after another; one that waits leaves at once", async () => {
  const order: string[] = [];
  const note = (name: string) => ({
    onEvent: (event: EngineEvent) => {
      if (event.type === "started") order.push(name);
      if (event.type === "stage" && event.stage === "decode" && event.state === "end")
        order.push(`${name} done`);
    },
  });
  const controller = new AbortController();
  const first = engine.generate(job(), note("first"));
  const second = engine.generate(job(), { ...note("second"), signal: controller.signal });
  const third = engine.generate(job(), note("third"));
  assert.equal(engine.waiting, 2);
  controller.abort(new Error("not needed"));
  await assert.rejects(second, /not needed/);
  await Promise.all([first, third]);
  assert.deepEqual(order, ["first", "first done", "third", "third done"]);
});

test("a killed process costs its job and no other", async () => {
  const { onEvent, seen } = when((event) => event.type === "step");
  const killed = engine.generate(job({ steps: 50 }), { onEvent });
  const rejected = assert.rejects(
    killed,
    (error) =>
      error instanceof EngineError && /SIGKILL/.test(error.message) && /next run/.test(error.message),
  );
  const waiting = engine.generate(job());
  await seen;
  process.kill(engine.pid!, "SIGKILL");
  await rejected;
  assert.equal((await waiting).seed, 7);
  // Between jobs, too.
  const pid = engine.pid!;
  process.kill(pid, "SIGKILL");
  assert.equal((await engine.generate(job())).seed, 7);
  assert.notEqual(engine.pid, pid);
});

test("an owner that is killed leaves no process behind, and none complains", async () => {
  const host = fileURLToPath(new URL("../../src/engine/host.js", import.meta.url));
  const image = fileURLToPath(new URL("examples/images/chelsea.jpg", root));
  const long = { depthImage: null, image, steps: 50, width: 1024, height: 1024 };
  const message = { type: "generate", id: 1, job: job(long) };
  // Otherwise it would go on for minutes.
  const deadline = 30;
  // Each time somewhere else: before the process listens, while it starts, while it tells of what it reads, in steps.
  for (const moment of ["sent", "started", "load", "step"]) {
    const owner = `
      const { fork } = await import("node:child_process");
      const stdio = ["ignore", 2, 2, "ipc"];
      const child = fork(${JSON.stringify(host)}, { serialization: "advanced", stdio, execArgv: [] });
      const die = () => {
        // What it does next, it does before it can hear that its owner is gone.
        if ("${moment}" === "step") process.kill(child.pid, "SIGSTOP");
        process.kill(process.pid, "SIGKILL");
      };
      process.stdout.write(String(child.pid));
      child.on("message", ({ event }) => event?.type === "${moment}" && die());
      child.send(${JSON.stringify(message)}, () => "${moment}" === "sent" && die());`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", owner], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    // Standard error is closed when nobody holds it any more: neither the owner nor what it started.
    const closed = once(child.stderr, "close");
    const [[pid]] = await Promise.all([once(child.stdout, "data"), once(child, "exit")]);
    if (moment === "step") process.kill(Number(pid), "SIGCONT");
    const began = performance.now();
    await closed;
    const took = (performance.now() - began) / 1000;
    assert.ok(took < deadline, `${moment}: ${took} s`);
    assert.deepEqual([child.signalCode, said], ["SIGKILL", ""], moment);
  }
});

test("a job that does not hear its cancel ends with its process", async () => {
  const other = new Engine({ cancelSeconds: 0.2 });
  const controller = new AbortController();
  const { onEvent, seen } = when((event) => event.type === "stage");
  const running = assert.rejects(
    other.generate(job({ steps: 50 }), { signal: controller.signal, onEvent }),
    /enough/,
  );
  await seen;
  const stopped = other.pid!;
  process.kill(stopped, "SIGSTOP");
  controller.abort(new Error("enough"));
  await running;
  assert.ok(!alive(stopped));
  await other.close();
});

test("an engine that cannot start says so, each time", async () => {
  const other = new Engine({ env: { ...process.env, NODE_OPTIONS: "--import=file:///no/such/module.js" } });
  for (let i = 0; i < 2; i++)
    await assert.rejects(
      other.generate(job()),
      (error) => error instanceof EngineError && /could not be started/.test(error.message),
    );
  await other.close();
});

test("the model goes on request, after a time without jobs, and when memory is short; not while it is used", async () => {
  const controller = new AbortController();
  const running = assert.rejects(engine.generate(job({ steps: 50 }), { signal: controller.signal }));
  assert.equal(await engine.evict(), null);
  controller.abort();
  await running;
  const pid = engine.pid!;
  const evicted = await engine.evict();
  assert.equal(evicted?.model, "tiny-world");
  assert.ok(evicted.bytes > 50e6);
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
  assert.equal(engine.held, null);
  assert.equal(await engine.evict(), null);

  for (const options of [{ idleSeconds: 0.05 }, { pressureSeconds: 0.05, shortOfMemory: async () => true }]) {
    const other = new Engine(options);
    await other.generate(job({ steps: 1 }));
    const process_ = other.pid!;
    await until(() => other.pid === undefined);
    await until(() => !alive(process_));
    await other.close();
  }
});

test("a time without jobs may be longer than any timer", async () => {
  const other = new Engine({ idleSeconds: 1e9 });
  await other.generate(job({ steps: 1 }));
  await sleep(100);
  assert.equal(other.held?.model, "tiny-world");
  await other.close();
});

test("a closed engine refuses, and ends what runs and waits", async () => {
  const other = new Engine();
  const { onEvent, seen } = when((event) => event.type === "started");
  const running = assert.rejects(other.generate(job(), { onEvent }), /closed/);
  const waiting = assert.rejects(other.generate(job()), /closed/);
  await seen;
  await other.close();
  await running;
  await waiting;
  await assert.rejects(other.generate(job()), /closed/);
});

test("what waits for a download ends with its signal, or with the engine, and downloads with it", async () => {
  await using hub = await HubServer.start();
  hub.host("me/tiny", { "model_index.json": "{}", "transformer/config.json": "{}" });
  hub.fault = () => true;
  const home = mkdtempSync(join(tmpdir(), "hf-"));
  const env = { ...process.env, HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: "0" };
  const other = new Engine({ env });
  const wanted = { ...job(), load: { model: "me/tiny" } };
  const controller = new AbortController();
  const reason = new Error("enough");
  const downloading = assert.rejects(other.generate(wanted, { signal: controller.signal }), reason);
  const waiting = assert.rejects(other.generate(wanted), /closed/);
  assert.deepEqual([other.waiting, other.busy, other.pid], [2, false, undefined]);
  await until(() => hub.asked.length > 0);
  const started = performance.now();
  controller.abort(reason);
  await downloading;
  // Later it would be ended by force.
  assert.ok(performance.now() - started < 4000);
  hub.asked.length = 0;
  await until(() => hub.asked.length > 0);
  await other.close();
  await waiting;
  assert.equal(other.waiting, 0);
  rmSync(home, { recursive: true });
});

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function pixels(png: Uint8Array): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  return sharp(png).raw().toBuffer();
}
