import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { GenerateOptions, Stage } from "../../src/index.js";
import { digest, exampleImage, inMemory, loadTinyWorld, smallRequest } from "../support/tiny-world.js";

const request: GenerateOptions = {
  ...smallRequest,
  width: 128,
  height: 128,
  image: exampleImage("portrait.png"),
  imageStrength: 0.4,
  steps: 5,
};
const { depthImage: _, ...fromPhoto } = request;

let expected: Promise<string> | undefined;
/** The digest of an undisturbed generation of {@link smallRequest}. */
function expectedDigest(): Promise<string> {
  expected ??= loadTinyWorld().then(async (flux) => digest(await flux.generate(smallRequest)));
  return expected;
}

describe("an abort rejects with its reason, frees everything, and lets the next generation in", () => {
  const stages: [Stage, GenerateOptions][] = [
    ["text", request],
    ["depth", fromPhoto],
    ["control", request],
    ["image", request],
    ["denoise", request],
    ["decode", request],
  ];
  for (const [stage, given] of stages)
    test(`0, 3 and 15 ms into the stage ${stage}`, async () => {
      const baseline = inMemory();
      using flux = await loadTinyWorld();
      for (const milliseconds of [0, 3, 15]) {
        const controller = new AbortController();
        const reason = new Error("enough");
        const generate = async (): Promise<void> => {
          for await (const event of flux.steps({ ...given, signal: controller.signal }))
            if (event.type === "stage" && event.stage === stage && event.state === "start")
              setTimeout(() => controller.abort(reason), milliseconds);
        };
        await assert.rejects(generate(), (error) => error === reason, `${milliseconds} ms`);
        assert.deepEqual(inMemory(), baseline, `${milliseconds} ms`);
      }
      assert.equal(digest(await flux.generate(smallRequest)), await expectedDigest());
    });
});

describe("an abort", () => {
  test("takes effect before the current step ends", async () => {
    using flux = await loadTinyWorld({ memory: "resident" });
    const big = { ...smallRequest, width: 512, height: 512, steps: 1 };
    await flux.generate({ ...big, width: 64, height: 64 });
    const timeOf = async (signal?: AbortSignal, onDenoise = (): void => {}): Promise<number> => {
      let started = 0;
      for await (const event of flux.steps({ ...big, ...(signal && { signal }) })) {
        if (event.type === "stage" && event.stage === "denoise" && event.state === "start") {
          started = performance.now();
          onDenoise();
        }
        if (event.type === "step") return performance.now() - started;
      }
      return 0;
    };
    // The time from the abort to the rejection, as a share of a step. Other work on the machine disturbs it, so the
    // best of a few attempts counts.
    const shares: number[] = [];
    while (shares.length < 5 && !shares.some((share) => share < 0.5)) {
      const whole = await timeOf();
      const controller = new AbortController();
      let aborted = 0;
      await assert.rejects(
        timeOf(controller.signal, () =>
          setTimeout(() => {
            aborted = performance.now();
            controller.abort();
          }, whole / 5),
        ),
        { name: "AbortError" },
      );
      shares.push((performance.now() - aborted) / whole);
    }
    assert.ok(Math.min(...shares) < 0.5, `${shares}`);
  });
});

describe("leaving the loop of steps", () => {
  test("frees everything and lets the next generation in", async () => {
    const baseline = inMemory();
    using flux = await loadTinyWorld();
    for await (const event of flux.steps(request)) if (event.type === "step") break;
    assert.deepEqual(inMemory(), baseline);
    assert.equal(digest(await flux.generate(smallRequest)), await expectedDigest());
  });
});

describe("disposing an instance", () => {
  test("ends the generation in progress and those that wait, and frees everything", async () => {
    const baseline = inMemory();
    const flux = await loadTinyWorld({ memory: "resident" });
    const running = flux.generate(request);
    const waiting = flux.generate(smallRequest);
    const both = Promise.allSettled([running, waiting]);
    await sleep(100);
    flux.dispose();
    for (const { status, reason } of (await both) as PromiseRejectedResult[]) {
      assert.equal(status, "rejected");
      assert.match(String(reason), /has been disposed/);
    }
    assert.deepEqual(inMemory(), baseline);
  });

  test("makes later generations reject", async () => {
    const flux = await loadTinyWorld();
    flux.dispose();
    await assert.rejects(flux.generate(smallRequest), {
      code: "engine-closed",
      message: "This FluxDepth has been disposed.",
    });
  });
});
