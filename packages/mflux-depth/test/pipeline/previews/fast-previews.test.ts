import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { FluxDepth, GenerateOptions, Picture } from "../../../src/index.js";
import { calibrationImage } from "../../../src/pipeline/previews/calibration-image.js";
import {
  collect,
  digest,
  inMemory,
  loadTinyWorld,
  logLoads,
  smallRequest,
} from "../../support/tiny-world.js";

const request: GenerateOptions = { ...smallRequest, width: 128, height: 192, steps: 8 };

/** An image at the size of its fast preview: the means of boxes of 4 × 4 pixels. */
function shrunk({ data, width, height }: Picture): Picture {
  const small = new Uint8Array((width / 4) * (height / 4) * 3);
  for (let i = 0; i < small.length; i++) {
    const [x, y] = [Math.floor(i / 3) % (width / 4), Math.floor(i / 3 / (width / 4))];
    let sum = 0;
    for (let dy = 0; dy < 4; dy++)
      for (let dx = 0; dx < 4; dx++) sum += data[((4 * y + dy) * width + 4 * x + dx) * 3 + (i % 3)]!;
    small[i] = Math.round(sum / 16);
  }
  return { data: small, width: width / 4, height: height / 4 };
}

/** The root of the mean square of the differences, in levels of 255. */
const distance = (a: Picture, b: Picture): number =>
  Math.sqrt(a.data.reduce((sum, level, i) => sum + (level - b.data[i]!) ** 2, 0) / a.data.length);

/** The standard deviation of the levels. */
function contrast({ data }: Picture): number {
  const mean = data.reduce((sum, level) => sum + level, 0) / data.length;
  return Math.sqrt(data.reduce((sum, level) => sum + (level - mean) ** 2, 0) / data.length);
}

describe("fast previews", () => {
  let flux: FluxDepth;
  const loads: string[] = [];
  const run = async (previewEvery: number, previewKind: "fast" | "exact") => {
    loads.length = 0;
    const { steps, result } = await collect(flux.steps({ ...request, previewEvery, previewKind }));
    const previews = steps.flatMap(({ index, preview }) => (preview ? [{ index, preview }] : []));
    return { previews, result, loads: [...loads] };
  };
  let first: Awaited<ReturnType<typeof run>>;
  let exact: Awaited<ReturnType<typeof run>>;
  before(async () => {
    flux = await loadTinyWorld(logLoads(loads));
    first = await run(2, "fast");
    exact = await run(2, "exact");
  });
  after(() => flux.dispose());

  test("are refused at a number of steps below 0, and of an unknown kind", async () => {
    await assert.rejects(collect(flux.steps({ ...request, previewEvery: -1 })), {
      name: "OptionError",
      message: "previewEvery must be a whole number of steps, or 0 for no previews, not -1.",
    });
    await assert.rejects(collect(flux.steps({ ...request, previewEvery: 2, previewKind: "zz" as "fast" })), {
      name: "OptionError",
      message: 'previewKind must be one of exact, fast, not "zz".',
    });
  });

  test("come at every nth step but the last, a quarter of the size", () => {
    assert.deepEqual(
      first.previews.map(({ index, preview: { width, height } }) => [index, width, height]),
      [2, 4, 6].map((index) => [index, 32, 48]),
    );
  });

  test("look like the exact ones", () => {
    for (const [i, { preview }] of first.previews.entries()) {
      const expected = shrunk(exact.previews[i]!.preview);
      const error = distance(preview, expected);
      assert.ok(error < 0.8 * contrast(expected) && error < 40, `${error} of ${contrast(expected)}`);
    }
  });

  test("become better with the images that are generated", async () => {
    const second = await run(2, "fast");
    for (const [i, { preview }] of second.previews.entries()) {
      const expected = shrunk(exact.previews[i]!.preview);
      assert.ok(distance(preview, expected) < 0.8 * distance(first.previews[i]!.preview, expected));
    }
  });

  test("do not change the image", () => {
    assert.equal(digest(first.result), digest(exact.result));
  });

  test("keep the autoencoder out of memory while the transformer is in it", () => {
    assert.deepEqual(
      first.loads.filter((component) => component === "vae"),
      ["vae", "vae"],
    );
    assert.deepEqual(
      exact.loads.filter((component) => component === "vae"),
      ["vae"],
    );
  });

  test("leave nothing in memory", async () => {
    const held = inMemory();
    await run(1, "fast");
    assert.deepEqual(inMemory(), held);
  });
});

describe("the image that they are fitted to", () => {
  const { data, width, height, channels } = calibrationImage(64);

  test("has values from black to white, in all channels", () => {
    assert.deepEqual([width, height, channels, data.length], [64, 64, 3, 64 * 64 * 3]);
    assert.ok(data.every((value) => value >= 0 && value <= 1));
    for (const channel of [0, 1, 2]) {
      const values = data.filter((_, i) => i % 3 === channel);
      assert.ok(Math.min(...values) < 0.1 && Math.max(...values) > 0.9);
    }
  });

  test("is always the same", () => {
    assert.deepEqual(calibrationImage(64).data, data);
  });
});
