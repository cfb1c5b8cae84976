import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { FluxDepth, saveModel } from "../../src/index.js";
import { job } from "../support/engine.js";
import { folderPerTest } from "../support/folders.js";
import { at } from "../support/tensors.js";

const folder = folderPerTest("listeners");
const photo = at("../../examples/images/chelsea.jpg");
const { request } = job({ steps: 1 });
const error = new Error("from the listener");

describe("a listener that", () => {
  for (const [how, fail] of [
    [
      "throws",
      () => {
        throw error;
      },
    ],
    ["rejects", () => Promise.reject(error)],
  ] as const) {
    test(`${how} while weights are read fails that generation only`, async () => {
      let failures = 1;
      using flux = await FluxDepth.load({
        model: "tiny-world",
        onProgress: () => (failures-- > 0 ? fail() : undefined),
      });
      await assert.rejects(flux.generate(request), error);
      assert.equal((await flux.generate(request)).seed, 7);
    });

    test(`${how} at a step fails that generation only`, async () => {
      using flux = await FluxDepth.load({ model: "tiny-world" });
      await assert.rejects(flux.generate({ ...request, onStep: fail }), error);
      assert.equal((await flux.generate(request)).seed, 7);
    });

    test(`${how} while depth is estimated fails that estimate only`, async () => {
      using flux = await FluxDepth.load({ model: "tiny-world" });
      await assert.rejects(flux.estimateDepth(photo, { onProgress: fail }), error);
      assert.ok(await flux.estimateDepth(photo));
    });

    test(`${how} while a model is saved leaves nothing`, async () => {
      const path = join(folder(), "saved");
      await assert.rejects(saveModel({ model: "tiny-world", path, onProgress: fail }), error);
      assert.ok(!existsSync(path));
    });
  }
});
