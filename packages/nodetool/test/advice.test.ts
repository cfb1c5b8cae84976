import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ImageError, type MemoryAlternative, MemoryError, ModelError, type Remedy } from "mflux-depth/errors";
import { messageOf, warningOf } from "../src/advice.js";

const advice = (...remedies: Remedy[]): string =>
  messageOf(new ModelError("x", "it cannot be used.", { details: { remedies } }));

describe("an error for NodeTool", () => {
  test("names the property of an option and its value", () => {
    assert.equal(
      advice({ kind: "set-option", option: "model", value: "tiny-world" }),
      "x: it cannot be used. Set model to tiny-world.",
    );
  });

  test("names properties as NodeTool writes them", () => {
    assert.match(advice({ kind: "omit-option", option: "depthImage" }), / Leave depth_image empty\.$/);
  });

  test("says when a property should change, and what for", () => {
    assert.equal(
      advice(
        { kind: "set-option", option: "depthImage", condition: "the photo is flat" },
        { kind: "set-option", option: "image", purpose: "infer depth from a photo" },
      ),
      "x: it cannot be used. If the photo is flat, set depth_image. Set image to infer depth from a photo.",
    );
  });

  test("omits options that are not properties", () => {
    assert.equal(advice({ kind: "set-option", option: "force", value: true }), "x: it cannot be used.");
  });

  test("sends downloads to the model manager", () => {
    assert.match(advice({ kind: "download", model: "a/b" }), / Download a\/b in NodeTool's model manager\.$/);
  });

  test("names the property of an image without a file", () => {
    assert.equal(messageOf(new ImageError("the depth map", "is too large.")), "depth_image: is too large.");
    assert.equal(messageOf(new ImageError("the photo", "is too large.")), "image: is too large.");
  });

  test("names other images by their file", () => {
    assert.equal(messageOf(new ImageError("a.png", "is too large.")), "a.png: is too large.");
  });

  test("is the message of a foreign error", () => {
    assert.equal(messageOf(new TypeError("no function")), "no function");
  });

  test("is a thrown value that is not an error", () => {
    assert.equal(messageOf(7), "7");
  });
});

describe("too little memory for NodeTool", () => {
  const tooLittle = (...alternatives: MemoryAlternative[]): string =>
    messageOf(new MemoryError(2e9, 1e9, "Too little.", { details: { alternatives } }));

  test("offers settings that are properties", () => {
    assert.equal(
      tooLittle({ quantize: 3, peak: 1 }, { width: 512, height: 512, peak: 1 }),
      "Too little. It would fit with quantize 3; or with width 512, height 512.",
    );
  });

  test("offers nothing that needs another option", () => {
    assert.equal(tooLittle({ memory: "low", quantize: 3, peak: 1 }), "Too little.");
  });
});

test("a warning for NodeTool carries its advice", () => {
  const remedies = [{ kind: "set-option", option: "prompt" }] as const;
  assert.equal(warningOf({ message: "Odd.", remedies }), "Odd. Set prompt.");
});
