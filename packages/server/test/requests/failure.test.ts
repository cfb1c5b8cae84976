import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EngineError, ImageError, MemoryError, ModelError, OptionError } from "mflux-depth/errors";
import { ServiceError } from "../../src/errors.js";
import { errorObjectOf, serviceErrorOf } from "../../src/requests/failure.js";
import { withoutPaths } from "../../src/requests/messages.js";

describe("an error of the library, for clients,", () => {
  test("names options and fields as JSON has them", () => {
    const error = new OptionError("depthImage", "Give a depth map (depthImage) or a photo (image).", {
      code: "option-missing",
    });
    const { code, message, param } = serviceErrorOf(error);
    assert.deepEqual(
      { code, message, param },
      {
        code: "missing",
        message: "Give a depth map (depth_image) or a photo (image).",
        param: "request.depth_image",
      },
    );
    assert.equal(serviceErrorOf(new OptionError("quantize", "…"), "load").param, "load.quantize");
  });

  for (const [error, code, type] of [
    [new ImageError("the photo", "is damaged."), "invalid_image", "invalid_request_error"],
    [new ModelError("a/b", "is missing", { code: "model-not-found" }), "model_not_found", "server_error"],
    [new ModelError("a/b", "is damaged"), "model_unusable", "server_error"],
    [new MemoryError(2, 1, "too little memory"), "insufficient_memory", "invalid_request_error"],
    [new EngineError("it ended", { code: "engine-failed" }), "engine_failed", "server_error"],
    [Object.assign(new Error("no space"), { code: "ENOSPC" }), "disk_full", "server_error"],
    [new ServiceError("damaged_file", "damaged"), "damaged_file", "server_error"],
  ] as const)
    test(`has the code ${code}`, () => {
      const object = errorObjectOf(error);
      assert.deepEqual([object.code, object.type], [code, type]);
    });

  test("about a picture is a sentence", () => {
    const messageOf = (reason: string): string => serviceErrorOf(new ImageError("the photo", reason)).message;
    assert.equal(messageOf("is animated."), "The photo is animated.");
    assert.equal(messageOf("its decoder ended."), "The photo: its decoder ended.");
  });

  test("says nothing about a mistake of the server but that it was one", () => {
    const { message, code } = errorObjectOf(
      new TypeError("Cannot read properties of undefined (reading 'x')"),
    );
    assert.equal(code, "internal_error");
    assert.doesNotMatch(message, /undefined/);
  });
});

describe("a message", () => {
  for (const [message, expected] of [
    ["/home/me/models/flux/vae/config.json: this is not valid JSON", "config.json: this is not valid JSON"],
    ["the folder '/srv/secret models' is empty", "the folder 'secret models' is empty"],
    ["C:\\Users\\me\\flux: is missing", "flux: is missing"],
    ["black-forest-labs/FLUX.1-Depth-dev: download it", "black-forest-labs/FLUX.1-Depth-dev: download it"],
    ["see https://example.org/a/b", "see https://example.org/a/b"],
    ["width / height", "width / height"],
  ] as const)
    test(`shows no path: ${message}`, () => assert.equal(withoutPaths(message), expected));
});
