import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import type { FluxDepth, GenerateRequest } from "../../src/index.js";
import { controlStrength } from "../../src/pipeline/control-strength.js";
import {
  digest,
  gradientMap,
  inMemory,
  loadTinyWorld,
  meanDifference,
  smallRequest,
} from "../support/tiny-world.js";

describe("controlStrength", () => {
  const levels = Float32Array.of(1, 0.8, 0.6, 0.3, 0);
  const of = (depthStrength: number, depthStart: number, depthStop: number): number[] =>
    [...levels.slice(0, 4)].map((sigma) =>
      controlStrength({ depthStrength, depthStart, depthStop }, levels, sigma),
    );

  test("is the same at all steps by default", () => assert.deepEqual(of(0.5, 0, 1), [0.5, 0.5, 0.5, 0.5]));

  test("is 0 outside the shares of the steps during which the map guides", () => {
    assert.deepEqual(of(1, 0, 0.5), [1, 1, 0, 0]);
    assert.deepEqual(of(0.8, 0.25, 0.75), [0, 0.8, 0.8, 0]);
  });
});

describe("the strength of the depth map", () => {
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld();
  });
  after(() => flux.dispose());
  const generate = (more: Partial<GenerateRequest>) => flux.generate({ ...smallRequest, steps: 4, ...more });

  test("changes nothing at 1", async () => {
    const [plain, full] = [
      await generate({}),
      await generate({ depthStrength: 1, depthStart: 0, depthStop: 1 }),
    ];
    assert.equal(digest(full), digest(plain));
  });

  test("leads away from the guided image the lower it is", async () => {
    const full = await generate({});
    const distance = async (depthStrength: number): Promise<number> =>
      meanDifference((await generate({ depthStrength })).image, full.image);
    const [none, half, most] = [await distance(0), await distance(0.5), await distance(0.9)];
    assert.ok(none > half && half > most && most > 0, `${[none, half, most]}`);
  });

  test("makes the map irrelevant at 0", async () => {
    const map = (level: number) => ({
      data: Uint8Array.from({ length: 64 * 64 }, (_, i) => (i % 64 < 32 ? level : 255 - level)),
      width: 64,
      height: 64,
      channels: 1,
    });
    const [one, other] = [0, 200].map((level) => generate({ depthImage: map(level), depthStrength: 0 }));
    assert.equal(digest(await one!), digest(await other!));
  });

  test("warns if it applies to no step", async () => {
    const { warnings } = await generate({ depthStart: 0.99 });
    assert.deepEqual(warnings, [
      "The depth map has no effect: it guides from 0.99 to 1 of the way, and all 4 steps are outside. Set depthStart to 0.",
    ]);
  });

  test("warns of nothing if it is to be 0, or no step is made", async () => {
    const { warnings } = await generate({ depthStrength: 0, depthStart: 0.99 });
    assert.deepEqual(warnings, []);
    const photo = await generate({
      image: gradientMap,
      imageStrength: 1,
      depthStart: 0.99,
      trustDepth: true,
    });
    assert.deepEqual(photo.warnings, []);
  });

  test("applies from depthStart to depthStop, and is kept in the parameters", async () => {
    const { metadata, ...stopped } = await generate({ depthStop: 0.5 });
    assert.deepEqual([metadata.depth_strength, metadata.depth_start, metadata.depth_stop], [1, 0, 0.5]);
    const images = [
      await generate({}),
      await generate({ depthStart: 0.5 }),
      await generate({ depthStrength: 0 }),
    ];
    for (const { image } of images) assert.ok(meanDifference(image, stopped.image) > 0);
  });

  test("holds nothing afterwards", async () => {
    await generate({ depthStrength: 0.5, depthStop: 0.5 });
    const baseline = inMemory();
    await generate({ depthStrength: 0.5, depthStop: 0.5 });
    assert.deepEqual(inMemory(), baseline);
  });

  for (const [what, more, message] of [
    ["a strength above 1", { depthStrength: 1.5 }, /depthStrength must be a number from 0 to 1/],
    ["an end before the beginning", { depthStart: 0.6, depthStop: 0.4 }, /depthStop \(0.4\) must be above/],
  ] as const)
    test(`refuses ${what}`, () =>
      assert.rejects(generate(more), (error) => error instanceof OptionError && message.test(error.message)));
});
