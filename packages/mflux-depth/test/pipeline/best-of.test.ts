import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ModelError, OptionError } from "../../src/errors.js";
import { type BestOf, bestOf } from "../../src/pipeline/best-of.js";
import type { GenerationEvent } from "../../src/pipeline/events.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import type { GenerationResult } from "../../src/pipeline/result.js";
import { exposedCollector } from "../support/garbage.js";
import { at } from "../support/tensors.js";

const request = {
  prompt: "a red cube, wooden floor",
  depthImage: at("../../examples/images/cube_depth.png"),
  width: 64,
  height: 64,
  steps: 2,
};

describe("bestOf", () => {
  let flux: FluxDepth;
  let result: BestOf;
  const scored: GenerationResult[] = [];
  const events: [index: number, event: GenerationEvent][] = [];
  before(async () => {
    flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    result = await bestOf(
      flux,
      { ...request, seed: 7 },
      {
        count: 3,
        onEvent: (event, index) => events.push([index, event]),
        onScored: (one) => void scored.push(one),
      },
    );
  });
  after(() => flux.dispose());

  const scoresOf = (): readonly number[] => result.ranking.map(({ fidelity }) => fidelity.rmse);

  test("generates as many images, with seeds that follow the given one", () =>
    assert.deepEqual(result.ranking.map(({ seed }) => seed).toSorted(), [7, 8, 9]));

  test("ranks the seeds, the most faithful first", () => {
    assert.deepEqual(
      scoresOf(),
      scoresOf().toSorted((a, b) => a - b),
    );
    assert.equal(new Set(scoresOf()).size, 3);
    for (const [i, { fidelity }] of result.ranking.entries()) {
      const { rank, candidates, depth_model: judge } = fidelity;
      assert.deepEqual([rank, candidates, judge], [i + 1, 3, "tiny-depth-anything"]);
    }
  });

  test("returns the best image, with its rank and score in the parameters", () => {
    const [first] = result.ranking;
    assert.deepEqual([result.best.seed, result.best.metadata.fidelity], [first!.seed, first!.fidelity]);
  });

  test("hands over each image with its score as it is made", () => {
    assert.deepEqual(
      scored.map(({ seed }) => seed),
      [7, 8, 9],
    );
    for (const { seed, metadata } of scored) {
      const { rank: _, ...fidelity } = result.ranking.find((one) => one.seed === seed)!.fidelity;
      assert.deepEqual(metadata.fidelity, fidelity);
    }
  });

  test("keeps only the best image so far", async () => {
    const collect = exposedCollector();
    const images: WeakRef<GenerationResult>[] = [];
    const alive: number[] = [];
    await bestOf(
      flux,
      { ...request, steps: 1, seed: 7 },
      {
        count: 6,
        onScored: async (one) => {
          await collect();
          alive.push(images.filter((ref) => ref.deref()).length);
          images.push(new WeakRef(one));
        },
      },
    );
    assert.ok(
      alive.every((count) => count <= 1),
      `alive of the images before: ${alive}`,
    );
  });

  test("waits for an image to be taken before it makes the next", async () => {
    const order: string[] = [];
    await bestOf(
      flux,
      { ...request, steps: 1 },
      {
        count: 2,
        onEvent: (event, n) => event.type === "step" && order.push(`step of ${n}`),
        onScored: async (_, n) => {
          await setImmediate();
          order.push(`took ${n}`);
        },
      },
    );
    assert.deepEqual(order, ["step of 0", "took 0", "step of 1", "took 1"]);
  });

  test("makes the images that generate makes from the same seeds", async () => {
    const { best } = result;
    const alone = await flux.generate({ ...request, seed: best.seed! });
    assert.deepEqual(best.image.data, alone.image.data);
    assert.equal(alone.metadata.fidelity, null);
  });

  test("reports the events of each generation", () => {
    assert.deepEqual([...new Set(events.map(([index]) => index))], [0, 1, 2]);
    assert.equal(events.filter(([, { type }]) => type === "result").length, 3);
  });

  test("encodes the depth map once", () => {
    const [first, ...others] = events.flatMap(([, event]) =>
      event.type === "stage" && event.state === "end" && event.stage === "control" ? [event.seconds] : [],
    );
    // An encoding takes tens of milliseconds, a kept one microseconds.
    assert.ok(others.length === 2 && others.every((one) => one < first! / 5), `${[first, ...others]}`);
  });

  test("encodes the depth map again for another fit", async () => {
    const wide = { ...request, width: 96, seed: 5, steps: 1 };
    const stretched = await flux.generate(wide);
    const padded = await flux.generate({ ...wide, fit: "pad" });
    assert.notDeepEqual(padded.depthMap.data, stretched.depthMap.data);
    assert.notDeepEqual(padded.image.data, stretched.image.data);
  });

  test("encodes the depth map again for the same pixels in another layout", async () => {
    const data = Uint8Array.from({ length: 32 * 64 }, (_, i) => i % 256);
    const from = (width: number, height: number) =>
      flux.generate({ ...request, seed: 5, steps: 1, depthImage: { data, width, height, channels: 1 } });
    const [wide, high] = [await from(64, 32), await from(32, 64)];
    assert.notDeepEqual(high.depthMap.data, wide.depthMap.data);
  });

  test("reports how the judge's weights are read", async () => {
    const seen: string[] = [];
    await bestOf(
      flux,
      { ...request, steps: 1 },
      { count: 2, onProgress: (one) => one.state === "start" && seen.push(one.component) },
    );
    assert.deepEqual(seen, ["depth_anything"]);
  });

  test("draws different seeds when none is given", async () => {
    const drawn = await bestOf(flux, { ...request, steps: 1 }, { count: 2 });
    assert.equal(new Set(drawn.ranking.map(({ seed }) => seed)).size, 2);
  });

  test("looks for the judge before it generates", async () => {
    const seen: unknown[] = [];
    await assert.rejects(
      bestOf(flux, request, {
        count: 2,
        depthModel: "/no/such/folder",
        onEvent: (event) => seen.push(event),
      }),
      ModelError,
    );
    assert.deepEqual(seen, []);
  });

  for (const [what, more, count] of [
    ["one image", {}, 1],
    ["images of the same noise", { latents: new Float32Array(16 * 8 * 8) }, 2],
  ] as const)
    test(`refuses ${what}`, () =>
      assert.rejects(bestOf(flux, { ...request, ...more }, { count }), OptionError));

  test("ends with the signal's reason", () =>
    assert.rejects(
      bestOf(flux, request, { count: 2, signal: AbortSignal.abort(new Error("enough")) }),
      /^Error: enough$/,
    ));
});
