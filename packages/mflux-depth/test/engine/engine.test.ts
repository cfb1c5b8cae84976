import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import sharp from "sharp";
import { Engine, type EngineEvent, type EngineResult } from "../../src/engine/index.js";
import { ImageError, ModelError, OptionError } from "../../src/errors.js";
import { pixels } from "../support/command-line.js";
import { job, load, when } from "../support/engine.js";

const engine = new Engine();
after(() => engine.close());

/** The resident memory of a process in bytes, from the system. */
async function residentBytes(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)("ps", ["-o", "rss=", "-p", `${pid}`]);
  return Number(stdout) * 1024;
}

describe("a generation", () => {
  const events: EngineEvent[] = [];
  let result: EngineResult;
  before(async () => {
    result = await engine.generate(job(), { onEvent: (event) => events.push(event) });
  });

  test("gives an encoded image", () => {
    assert.deepEqual([...result.image.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
    assert.deepEqual([result.width, result.height, result.seed, result.format], [64, 64, 7, "png"]);
  });

  test("reports its start, the reading of weights, and its steps", () => {
    assert.equal(events[0]?.type, "started");
    assert.ok(events.some((event) => event.type === "load" && event.component === "transformer"));
    assert.deepEqual(
      events.flatMap((event) => (event.type === "step" ? [[event.index, event.total]] : [])),
      [
        [1, 2],
        [2, 2],
      ],
    );
  });

  test("keeps its model for the next one", async () => {
    assert.equal(engine.held?.model, "tiny-world");
    const again: EngineEvent[] = [];
    const second = await engine.generate(job(), { onEvent: (event) => again.push(event) });
    assert.ok(!again.some((event) => event.type === "load"));
    assert.deepEqual(await pixels(second.image), await pixels(result.image));
  });

  test("reads the model again with other load options", async () => {
    const other: EngineEvent[] = [];
    await engine.generate(
      { ...job({ steps: 1 }), load: { ...load, memory: "low" } },
      { onEvent: (event) => other.push(event) },
    );
    assert.ok(other.some((event) => event.type === "load"));
  });

  test("leaves the event loop free", async () => {
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
    // A busy machine makes gaps longer, and generations too.
    assert.ok(longest < Math.max(100, whole / 4), `the longest gap was ${longest} of ${whole} ms`);
  });
});

describe("previews", () => {
  for (const [kind, size] of [
    ["fast", 16],
    ["exact", 64],
  ] as const)
    test(`of the kind ${kind} arrive as small JPEG files`, async () => {
      const previews: [step: number, format: string | undefined, width: number, height: number][] = [];
      const events: EngineEvent[] = [];
      await engine.generate(job({ steps: 5 }, { previews: { every: 2, kind } }), {
        onEvent: (event) => events.push(event),
      });
      for (const event of events)
        if (event.type === "step" && event.preview) {
          const { bytes, mime, width, height } = event.preview;
          assert.equal(mime, "image/jpeg");
          assert.ok(bytes.length < 20_000);
          previews.push([event.index, (await sharp(bytes).metadata()).format, width, height]);
        }
      assert.deepEqual(previews, [
        [2, "jpeg", size, size],
        [4, "jpeg", size, size],
      ]);
    });
});

describe("an error", () => {
  test("about an option keeps its class and option", () =>
    assert.rejects(
      engine.generate(job({ steps: 51 })),
      (error) =>
        error instanceof OptionError && error.option === "steps" && /1 to 50, not 51/.test(error.message),
    ));

  test("about an image keeps its class and message", () =>
    assert.rejects(
      engine.generate(job({ depthImage: new Uint8Array(100) })),
      (error) => error instanceof ImageError && /not an image that can be read/.test(error.message),
    ));

  test("about a model keeps its class and source, and leaves the held model", async () => {
    await engine.generate(job({ steps: 1 }));
    const { model } = engine.held!;
    await assert.rejects(
      engine.generate({ ...job(), load: { model: "nobody/nothing", offline: true } }),
      (error) =>
        error instanceof ModelError &&
        error.source === "nobody/nothing" &&
        !/nothing: nobody/.test(error.message),
    );
    assert.equal(engine.held?.model, model);
  });
});

describe("a cancelled job", () => {
  let limit: number;
  let bytesBefore: number;
  before(async () => {
    const began = performance.now();
    await engine.generate(job());
    // "At once" on a slow machine: no longer than two small jobs.
    limit = Math.max(1, (2 * (performance.now() - began)) / 1000);
    bytesBefore = await residentBytes(engine.pid!);
  });

  for (const stage of ["text", "control", "denoise", "decode"] as const)
    test(`ends at once in the ${stage} stage and returns its memory`, async () => {
      const controller = new AbortController();
      const { onEvent, seen } = when(
        (event) => event.type === "stage" && event.stage === stage && event.state === "start",
      );
      const reason = new Error(`enough of ${stage}`);
      // The size makes every stage long enough to be interrupted.
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
      assert.ok(seconds < limit, `it took ${seconds} s to end; at most ${limit} s are at once`);
      const grown = (await residentBytes(engine.pid!)) - bytesBefore;
      assert.ok(grown < 60e6, `${grown} bytes were not returned`);
    });
});

test("jobs run one after another, and a cancelled one leaves the queue at once", async () => {
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

test("a closed engine refuses jobs and ends those that run and wait", async () => {
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
