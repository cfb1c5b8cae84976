import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import sharp from "sharp";
import { Engine, type EngineEvent, type EngineJob, type EngineResult } from "../../src/engine/index.js";
import { OptionError } from "../../src/errors.js";
import { isAlive, job, when } from "../support/engine.js";
import { exampleImage } from "../support/tiny-world.js";
import { until } from "../support/waiting.js";

type Checkpoint = Extract<EngineEvent, { type: "checkpoint" }>;

const engine = new Engine();
after(() => engine.close());

const steps = 6;
const every = { everySteps: 1, minSeconds: 0 };
const photo = readFileSync(exampleImage("cube.png"));

/** The left half of the photo is to change. */
const mask = await sharp(
  Buffer.from(Array.from({ length: 256 * 256 }, (_, i) => (i % 256 < 128 ? 255 : 0))),
  { raw: { width: 256, height: 256, channels: 1 } },
)
  .png()
  .toBuffer();

/** The requests that begin in different ways. */
const starts: [string, EngineJob["request"]][] = [
  ["noise and a given map", job({ steps }).request],
  ["a photo and a given map", job({ steps, image: photo, imageStrength: 0.3, trustDepth: true }).request],
  ["a photo inside a mask", job({ steps, image: photo, maskImage: mask, trustDepth: true }).request],
  ["a photo and its estimated depth", job({ steps, image: photo, depthImage: null }).request],
];

async function run(request: EngineJob["request"], more: Partial<EngineJob> = {}) {
  const events: EngineEvent[] = [];
  const result = await engine.generate(
    { ...job(), request, includeLatents: true, includeDepthMap: true, ...more },
    { onEvent: (event) => events.push(event) },
  );
  return { events, result };
}

const checkpointsIn = (events: readonly EngineEvent[]): Checkpoint[] =>
  events.filter((event): event is Checkpoint => event.type === "checkpoint");

const fingerprintIn = (events: readonly EngineEvent[]): string => {
  const [first] = events;
  return first?.type === "started" ? first.fingerprint : assert.fail("the first event is not started");
};

const stagesIn = (events: readonly EngineEvent[]): string[] =>
  events.flatMap((event) => (event.type === "stage" && event.state === "start" ? [event.stage] : []));

/** The parts of a result that do not depend on time. */
const numbersOf = ({ latents, depthMap, seed, width, height }: EngineResult) => ({
  ...{ latents, depthMap, seed, width, height },
});

async function pixelsOf({ image }: EngineResult): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  return sharp(image).raw().toBuffer();
}

for (const [what, request] of starts)
  describe(`a job from ${what}`, () => {
    let whole: Awaited<ReturnType<typeof run>>;
    let checkpoints: Checkpoint[];
    before(async () => {
      whole = await run(request, { checkpoints: every });
      checkpoints = checkpointsIn(whole.events);
    });

    test("sends checkpoints, the first one with the depth map", () => {
      const taken = whole.events.flatMap((event) => (event.type === "step" ? [event.index] : []));
      assert.deepEqual(
        checkpoints.map(({ step }) => step),
        taken,
      );
      assert.deepEqual(checkpoints[0]!.depthMap, whole.result.depthMap);
      assert.ok(checkpoints.slice(1).every(({ depthMap }) => depthMap === null));
    });

    for (const [name, at] of [
      ["first", 0],
      ["last", -1],
    ] as const)
      test(`gives the same pixels when it continues from its ${name} checkpoint`, async () => {
        const { step, latents } = checkpoints.at(at)!;
        const { depthMap } = checkpoints[0]!;
        const resume = { step, latents, depthMap, fingerprint: fingerprintIn(whole.events) };
        const { events, result } = await run(request, { resume });
        assert.deepEqual(events[1], { type: "resumed", step });
        assert.deepEqual(
          events.flatMap((event) => (event.type === "step" ? [event.index] : [])),
          checkpoints.map((one) => one.step).filter((index) => index > step),
        );
        assert.ok(!stagesIn(events).includes("depth"));
        // The photo outside the mask is put back after each step.
        assert.equal(stagesIn(events).includes("image"), Boolean(request.maskImage));
        assert.deepEqual(numbersOf(result), numbersOf(whole.result));
        assert.deepEqual(await pixelsOf(result), await pixelsOf(whole.result));
      });

    test("makes the depth map again when the checkpoint has none", async () => {
      const { step, latents } = checkpoints[1]!;
      const resume = { step, latents, fingerprint: fingerprintIn(whole.events) };
      const { result } = await run(request, { resume });
      assert.deepEqual(numbersOf(result), numbersOf(whole.result));
    });
  });

describe("a job whose process is killed", () => {
  test("continues in the next process with the same pixels", async () => {
    const request = job({ steps: 25 }).request;
    const whole = await run(request);
    const seen: EngineEvent[] = [];
    const { onEvent, seen: third } = when((event) => event.type === "step" && event.index === 3);
    const killed = assert.rejects(
      engine.generate(
        { ...job(), request, checkpoints: every },
        {
          onEvent: (event) => {
            seen.push(event);
            onEvent(event);
          },
        },
      ),
      /killed/,
    );
    await third;
    const pid = engine.pid!;
    process.kill(pid, "SIGKILL");
    await killed;
    await until(() => !isAlive(pid));
    const checkpoints = checkpointsIn(seen);
    const { step, latents } = checkpoints.at(-1)!;
    const resume = {
      ...{ step, latents, fingerprint: fingerprintIn(seen) },
      depthMap: checkpoints[0]!.depthMap,
    };
    const { events, result } = await run(request, { resume });
    assert.deepEqual(events[1], { type: "resumed", step });
    assert.deepEqual(await pixelsOf(result), await pixelsOf(whole.result));
  });
});

describe("a checkpoint", () => {
  let whole: Awaited<ReturnType<typeof run>>;
  before(async () => {
    whole = await run(starts[0]![1], { checkpoints: every });
  });

  test("with another fingerprint is not used: the job starts over", async () => {
    const { step, latents } = checkpointsIn(whole.events)[2]!;
    const { events, result } = await run(starts[0]![1], { resume: { step, latents, fingerprint: "other" } });
    assert.ok(!events.some(({ type }) => type === "resumed"));
    assert.deepEqual(await pixelsOf(result), await pixelsOf(whole.result));
  });

  for (const [what, change] of [
    ["a step that the job does not have", { step: 7 }],
    ["latents of another size", { latents: { data: new Float32Array(16), shape: [1, 16, 1, 1] } }],
    ["a depth map of another size", { depthMap: { data: new Float32Array(4), width: 2, height: 2 } }],
  ] as const)
    test(`with ${what} is refused`, async () => {
      const { step, latents } = checkpointsIn(whole.events)[2]!;
      const fingerprint = fingerprintIn(whole.events);
      await assert.rejects(
        run(starts[0]![1], { resume: { step, latents, fingerprint, ...change } }),
        (error) => error instanceof OptionError && error.option === "resume",
      );
    });

  test("is due after both the steps and the seconds have passed", async () => {
    const checkpoints = { everySteps: 2, minSeconds: 0 };
    const { events } = await run(starts[0]![1], { checkpoints });
    assert.deepEqual(
      checkpointsIn(events).map(({ step }) => step),
      [2, 4, 6],
    );
    const rare = await run(starts[0]![1], { checkpoints: { everySteps: 2, minSeconds: 1000 } });
    assert.deepEqual(checkpointsIn(rare.events), []);
  });
});

describe("a fingerprint", () => {
  const fingerprint = async (load: EngineJob["load"]): Promise<string> => {
    const controller = new AbortController();
    const events: EngineEvent[] = [];
    const onEvent = (event: EngineEvent): void => {
      events.push(event);
      controller.abort();
    };
    const { signal } = controller;
    await assert.rejects(engine.generate({ ...job(), load }, { signal, onEvent }), { name: "AbortError" });
    return fingerprintIn(events);
  };

  test("differs where the numbers do", async () => {
    const model = "tiny-world";
    const plain = await fingerprint({ model, quantize: "none" });
    assert.match(plain, /^[0-9a-f]{64}$/);
    assert.equal(await fingerprint({ model, quantize: "none", memory: "low" }), plain);
    const others = [
      await fingerprint({ model, quantize: 4 }),
      await fingerprint({ model, quantize: "none", dtype: "bfloat16" }),
      ...(process.platform === "linux" ? [await fingerprint({ model, quantize: "none", threads: 7 })] : []),
    ];
    assert.equal(new Set([plain, ...others]).size, 1 + others.length);
  });
});

test("a result has the depth map and the latents only on request", async () => {
  const { depthMap, latents } = await engine.generate(job({ steps: 1 }));
  assert.deepEqual([depthMap, latents], [null, null]);
});

describe("an engine that takes images as bytes", () => {
  const strict = new Engine({ imagesAsBytes: true });
  after(() => strict.close());

  for (const name of ["image", "depthImage", "maskImage"] as const)
    test(`refuses the name of a file as ${name}`, async () => {
      await assert.rejects(
        strict.generate(job({ image: photo, [name]: "/etc/hostname" })),
        (error) => error instanceof OptionError && error.option === name && !/etc/.test(error.message),
      );
    });

  test("generates from bytes", async () => {
    assert.equal((await strict.generate(job({ steps: 1 }))).width, 64);
  });
});
