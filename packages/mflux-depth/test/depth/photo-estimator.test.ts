import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { memory } from "@mflux-depth/mlx";
import type { EstimateOptions } from "../../src/depth/estimator.js";
import { type ModelOutput, PhotoEstimator } from "../../src/depth/photo-estimator.js";
import { ImageError, ModelError } from "../../src/errors.js";
import { readPhoto } from "../../src/images/decode.js";
import { exifBlock, exifTag } from "../support/exif.js";
import { drawn, noiseBytes } from "../support/images.js";

/** Predicts a ramp, and counts. */
class RampEstimator extends PhotoEstimator {
  readonly modelType = "ramp";
  readonly name = "Ramp";
  readonly folder = "a folder";
  protected readonly seesFieldOfView = true;
  readonly asked: boolean[] = [];
  frees = 0;
  /** MLX's limit for freed buffers while it predicts. */
  cacheLimit = 0;
  value = (x: number): number => 1 + x;

  protected async predict(_: unknown, { fieldOfView }: Required<EstimateOptions>): Promise<ModelOutput> {
    this.asked.push(fieldOfView);
    this.cacheLimit = memory.cacheLimit();
    return {
      prediction: { ...drawn(8, 8, this.value), quantity: "depth", scale: "relative" },
      fieldOfView: fieldOfView ? 60 : undefined,
    };
  }
  free(): void {
    this.frees++;
  }
  size() {
    return { bytes: 0, reading: 0 };
  }
  protected networkBytes(): number {
    return 1e6;
  }
}

const pixels = (channels: 1 | 3) => ({ data: noiseBytes(20, 20, channels), width: 20, height: 20, channels });

describe("an estimator", () => {
  test("keeps freed buffers from layer to layer, and counts them", async () => {
    const resting = memory.cacheLimit();
    const estimator = new RampEstimator();
    await estimator.estimate(pixels(3));
    assert.ok(estimator.cacheLimit > 1e8 && estimator.cacheLimit <= 5e8, `${estimator.cacheLimit}`);
    assert.equal(memory.cacheLimit(), resting);
    assert.equal(estimator.workingMemory(), 2e6);
  });

  test("keeps no more freed buffers than the user allows", async () => {
    const estimator = new RampEstimator({ cacheLimit: 2e5 });
    await estimator.estimate(pixels(3));
    assert.equal(estimator.cacheLimit, 2e5);
    assert.equal(estimator.workingMemory(), 1.2e6);
  });

  test("remembers the last photo", async () => {
    const estimator = new RampEstimator();
    const first = await estimator.estimate(pixels(3));
    assert.equal(await estimator.estimate(pixels(3)), first);
    assert.equal(estimator.asked.length, 1);
  });

  test("reports all work as done for a photo that it remembers", async () => {
    const estimator = new RampEstimator();
    await estimator.estimate(pixels(3));
    let told = 0;
    await estimator.estimate(pixels(3), { onProgress: (done) => (told = done) });
    assert.equal(told, 1);
  });

  test("runs again for another photo", async () => {
    const estimator = new RampEstimator();
    const first = await estimator.estimate(pixels(3));
    assert.notEqual(await estimator.estimate(pixels(1)), first);
  });

  test("runs again for a field of view that it did not estimate, and not for less", async () => {
    const estimator = new RampEstimator();
    const blind = await estimator.estimate(pixels(3), { fieldOfView: false });
    assert.equal(blind.fieldOfView, undefined);
    const seen = await estimator.estimate(pixels(3));
    assert.equal(seen.fieldOfView, 60);
    assert.equal(await estimator.estimate(pixels(3), { fieldOfView: false }), seen);
    assert.deepEqual(estimator.asked, [false, true]);
  });

  test("keeps the last estimate when it is freed", async () => {
    const estimator = new RampEstimator();
    const first = await estimator.estimate(pixels(3));
    estimator.free();
    assert.equal(await estimator.estimate(pixels(3)), first);
  });

  test("is freed when it is disposed", () => {
    const estimator = new RampEstimator();
    {
      using _ = estimator;
    }
    assert.equal(estimator.frees, 1);
  });

  test("takes the focal length from the photo's EXIF", async () => {
    const photo = { ...(await readPhoto(pixels(3))), exif: exifBlock({ [exifTag.onFilm]: 28 }) };
    const estimate = await new RampEstimator().estimate(photo);
    assert.equal(estimate.focalLengthFrom, "exif");
    assert.ok(Math.abs(estimate.focalLength! - (28 * Math.hypot(20, 20)) / Math.hypot(36, 24)) < 1e-9);
  });

  test("refuses a photo that is too small", async () => {
    const tiny = { data: new Uint8Array(30), width: 5, height: 2, channels: 3 };
    await assert.rejects(new RampEstimator().estimate(tiny), ImageError);
  });

  test("refuses a prediction that is not finite", async () => {
    const estimator = new RampEstimator();
    estimator.value = (x) => (x === 3 ? Number.NaN : 1);
    await assert.rejects(
      estimator.estimate(pixels(3)),
      (error) => error instanceof ModelError && /a folder: .*not finite/.test(error.message),
    );
  });

  test("does not start for an aborted signal", async () => {
    const estimator = new RampEstimator();
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(estimator.estimate(pixels(3), { signal }), /^Error: enough$/);
    assert.equal(estimator.asked.length, 0);
  });
});
