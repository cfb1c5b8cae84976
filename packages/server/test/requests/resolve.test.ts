import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JsonOptions } from "../../src/contract/index.js";
import { engineLoadOf } from "../../src/requests/engine-job.js";
import { AllowedModels } from "../../src/requests/models.js";
import { type Defaults, resolveBody, resolveLoad } from "../../src/requests/resolve.js";

const defaults: Defaults = {
  models: new AllowedModels(
    { model: "tiny-world", loras: [{ source: "/srv/secret/pencil.safetensors", scale: 0.5 }] },
    [
      { name: "mine", folder: "/srv/secret/mine" },
      { name: "ink", folder: "/srv/secret/ink.safetensors" },
    ],
  ),
  load: { quantize: 8, threads: 2 },
};

const photo = { blob: `sha256-${"a".repeat(64)}` };

describe("the loading options of a request", () => {
  test("are those of the server where it leaves them out, without the names of files", () => {
    const { model, quantize, loras } = resolveLoad({}, defaults);
    assert.deepEqual(
      { model, quantize, loras },
      { model: "tiny-world", quantize: 8, loras: [{ source: "pencil.safetensors", scale: 0.5 }] },
    );
  });

  test("may name what the server offers, which the engine finds in its folders", () => {
    const given: JsonOptions = { model: "mine", quantize: "none", loras: [{ source: "ink" }] };
    const load = resolveLoad(given, defaults);
    assert.deepEqual(load.loras, [{ source: "ink", scale: 1 }]);
    const { model, quantize, loras, offline, threads } = engineLoadOf(load, defaults);
    assert.deepEqual(
      { model, quantize, loras, offline, threads },
      {
        model: "/srv/secret/mine",
        quantize: "none",
        loras: [{ source: "/srv/secret/ink.safetensors", scale: 1 }],
        offline: true,
        threads: 2,
      },
    );
  });

  for (const source of [
    "/srv/secret/ink.safetensors",
    "owner/lora",
    "owner/lora:file.safetensors",
    "mine/..",
  ])
    test(`may not name the LoRA ${source}`, () =>
      assert.throws(() => resolveLoad({ loras: [{ source }] }, defaults), {
        code: "model_not_found",
        param: "load.loras",
      }));

  for (const name of ["device", "threads", "offline", "force", "config_from"])
    test(`may not set ${name}`, () =>
      assert.throws(() => resolveLoad({ [name]: 1 }, defaults), {
        code: "unknown_field",
        param: `load.${name}`,
      }));
});

describe("a request", () => {
  test("with percentiles in the wrong order is refused with the names of the fields", () => {
    const request = { prompt: "x", depth_image: photo, depth_near: 10, depth_far: 20 };
    assert.throws(() => resolveBody({ kind: "generate", request }, defaults), {
      message: /^depth_near \(10\) must be above depth_far \(20\)/,
    });
  });

  test("comes back with its pictures as blobs, whether they were given as objects or as ids", () => {
    for (const image of [photo, photo.blob]) {
      const body = { kind: "generate", request: { prompt: "x", image } } as const;
      const { request, blobs } = resolveBody(body, defaults);
      assert.deepEqual(request.image, photo);
      assert.deepEqual(blobs, [{ sha256: "a".repeat(64), param: "request.image" }]);
    }
  });

  test("says which of its values were changed", () => {
    const { request, warnings } = resolveBody(
      { kind: "generate", request: { prompt: "x", image: photo, width: 70 } },
      defaults,
    );
    assert.equal(request.width, 64);
    assert.match(warnings.join(), /width 70/);
  });

  test("of kind depth has the photo and adjustments only", () => {
    const { request, steps, seed } = resolveBody({ kind: "depth", request: { image: photo } }, defaults);
    assert.deepEqual([request.depth_near, request.depth_far, steps, seed], [100, 0, null, null]);
    assert.throws(() => resolveBody({ kind: "depth", request: { image: photo, prompt: "x" } }, defaults), {
      code: "unknown_field",
      param: "request.prompt",
    });
  });

  test("of kind depth may not have the percentiles the wrong way round", () =>
    assert.throws(
      () =>
        resolveBody({ kind: "depth", request: { image: photo, depth_near: 10, depth_far: 20 } }, defaults),
      { code: "invalid_value", param: "request.depth_near" },
    ));

  test("has one scale for each LoRA", () => {
    const resolve = (scales: readonly number[]): unknown =>
      resolveBody({ kind: "generate", request: { prompt: "x", image: photo, lora_scales: scales } }, defaults)
        .request.lora_scales;
    assert.deepEqual(resolve([0.3]), [0.3]);
    assert.throws(() => resolve([0.3, 0.4]), { code: "option_conflict", param: "request.lora_scales" });
  });
});
