import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { imageOf } from "../../src/inputs/image.js";

const image = Uint8Array.of(1, 2, 3, 4);
const base64 = Buffer.from(image).toString("base64");
const field = (value: unknown): Uint8Array | string | null =>
  imageOf({ name: "image", value, blob: undefined, localFiles: false });

describe("an image is read from", () => {
  const forms: [string, unknown][] = [
    ["base64 in a reference", { type: "image", data: base64, mimeType: "image/png", width: 2, height: 2 }],
    ["a data URI in a reference", { type: "image", uri: "", data: `data:image/png;base64,${base64}` }],
    ["bytes in a reference", { type: "image", data: image }],
    ["a reference's address", { type: "image", uri: `data:image/png;base64,${base64}`, data: null }],
    ["a percent-encoded address", { type: "image", uri: "data:application/octet-stream,%01%02%03%04" }],
    ["base64 in lines", { type: "image", data: `${base64.slice(0, 3)}\n${base64.slice(3)}` }],
    ["a data URI alone", `data:image/png;base64,${base64}`],
    ["base64 alone", base64],
    ["bytes alone", image],
    ["a list with one image", [{ type: "image", data: base64 }]],
  ];
  for (const [what, value] of forms)
    test(what, () => {
      assert.deepEqual([...field(value)!], [...image]);
    });

  test("a blob, before its field", () => {
    assert.equal(imageOf({ name: "image", value: { data: "" }, blob: [image], localFiles: false }), image);
  });
});

describe("an image is unset for", () => {
  const unset = { type: "image", uri: "", asset_id: null, data: null, metadata: null };
  for (const value of [unset, null, undefined, {}, "", [], { type: "image" }, { data: "" }])
    test(`${JSON.stringify(value)}`, () => {
      assert.equal(field(value), null);
    });
});

describe("an image is refused for", () => {
  const refused: [string, unknown, RegExp][] = [
    [
      "an address the host did not load",
      { uri: "memory://gone" },
      /^image could not be loaded by NodeTool: "memory:\/\/gone"/,
    ],
    [
      "a string that is not base64",
      { data: "not base64!" },
      /^image holds a string that is neither base64 nor/,
    ],
    ["a damaged data URI", "data:image/png,%zz", /^image holds a damaged data URI/],
    ["a number", 12, /^image must be an image: its bytes, base64, or a data URI/],
    ["two images", [image, image], /^image holds 2 images; give one/],
  ];
  for (const [what, value, message] of refused)
    test(what, () => {
      assert.throws(
        () => field(value),
        (error) => error instanceof OptionError && error.option === "image" && message.test(error.message),
      );
    });
});
