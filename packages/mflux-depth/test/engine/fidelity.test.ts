import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import sharp from "sharp";
import { Engine } from "../../src/engine/index.js";
import { readParameters } from "../../src/images/metadata.js";
import { bestOf } from "../../src/pipeline/best-of.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import { job } from "../support/engine.js";

const engine = new Engine();
after(() => engine.close());

const given = job({ steps: 2, seed: 7 });

describe("a job whose image is scored", () => {
  test("gives the score that bestOf gives, in its result and in the image", async () => {
    using flux = await FluxDepth.load(given.load);
    const { ranking } = await bestOf(flux, given.request, { count: 2 });
    const { rank: _, candidates: __, ...expected } = ranking.find(({ seed }) => seed === 7)!.fidelity;
    const { fidelity, image, metadata } = await engine.generate({ ...given, includeFidelity: true });
    assert.deepEqual(fidelity, expected);
    assert.deepEqual(metadata.fidelity, expected);
    const { exif } = await sharp(image).metadata();
    assert.deepEqual(readParameters(exif)?.fidelity, expected);
  });

  test("encodes the map once for several seeds", async () => {
    const seconds: number[] = [];
    for (const seed of [11, 12])
      await engine.generate(
        { ...given, request: { ...given.request, seed, width: 160 }, includeFidelity: true },
        {
          onEvent: (event) => {
            if (event.type === "stage" && event.state === "end" && event.stage === "control")
              seconds.push(event.seconds);
          },
        },
      );
    const [first, second] = seconds;
    // An encoding takes tens of milliseconds, a kept one microseconds.
    assert.ok(second! < first! / 5, `${seconds}`);
  });

  test("has no score unless asked", async () => {
    const { fidelity, metadata } = await engine.generate(given);
    assert.deepEqual([fidelity, metadata.fidelity], [null, null]);
  });
});
