import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { definition } from "../../src/definition.js";
import { jobOf } from "../../src/inputs/job.js";

const image = Uint8Array.of(1, 2, 3, 4);
const job = (fields: Record<string, unknown> = {}, blobs: Record<string, unknown> = { depth_image: image }) =>
  jobOf({ fields, blobs, localFiles: false });

const defaults = {
  load: { model: "black-forest-labs/FLUX.1-Depth-dev", quantize: 4 },
  request: {
    prompt: "Highly detailed cinematic portrait with depth cues",
    image: null,
    depthImage: image,
    steps: 20,
    guidance: 10,
    width: 1024,
    height: 1024,
    seed: 0,
  },
  format: "png",
};

describe("a job", () => {
  test("has the definition's defaults without fields", () => {
    assert.deepEqual(job(), defaults);
  });

  test("has the same values when the host sends the defaults", () => {
    const sent = definition.properties.map(({ name, default: value }) => [name, value]);
    assert.deepEqual(job(Object.fromEntries(sent)), defaults);
  });

  test("ignores unset and unknown fields", () => {
    assert.deepEqual(job({ steps: undefined, width: null, somethingNew: { a: 1 } }), defaults);
  });
});

describe("a number is read from", () => {
  const forms: [string, Record<string, unknown>, Record<string, unknown>, Record<string, unknown>][] = [
    ["an empty choice as none", { quantize: null }, { quantize: "none" }, {}],
    ["a string of a choice", { quantize: "8" }, { quantize: 8 }, {}],
    ["an empty number as its default", { guidance: null }, {}, { guidance: 10 }],
    ["zero", { guidance: 0 }, {}, { guidance: 0 }],
    ["a string", { steps: "12" }, {}, { steps: 12 }],
    ["the end of its range", { seed: 4294967295 }, {}, { seed: 4294967295 }],
    ["a size between multiples of 16", { width: 257 }, {}, { width: 257 }],
  ];
  for (const [what, fields, load, request] of forms)
    test(what, () => {
      const made = job(fields);
      assert.deepEqual({ ...made.load, ...load }, made.load);
      assert.deepEqual({ ...made.request, ...request }, made.request);
    });
});

describe("a job refuses", () => {
  const refused: readonly [property: string, value: unknown, message: RegExp][] = [
    ["prompt", "  \n", /^Prompt cannot be empty for depth-guided generation\.$/],
    ["prompt", 5, /prompt must be a string/],
    ["steps", 0, /steps must be a whole number from 1 to 50, not 0/],
    ["steps", 51, /1 to 50, not 51/],
    ["steps", 2.5, /whole number/],
    ["steps", true, /not true/],
    ["guidance", -1, /guidance must be a number from 0 to 100, not -1/],
    ["guidance", Number.NaN, /guidance/],
    ["guidance", Number.POSITIVE_INFINITY, /guidance/],
    ["width", 255, /width must be a whole number from 256 to 2048, not 255/],
    ["height", 2049, /height must be a whole number from 256 to 2048, not 2049/],
    ["seed", -1, /seed/],
    ["seed", 2 ** 32, /seed/],
    ["quantize", 7, /quantize must be one of 3, 4, 5, 6, 8, none, not 7/],
  ];
  for (const [property, value, message] of refused)
    test(`${property} ${typeof value === "string" ? JSON.stringify(value) : value}`, () => {
      assert.throws(
        () => job({ [property]: value }),
        (error) => error instanceof OptionError && error.option === property && message.test(error.message),
      );
    });

  test("to have no image at all", () => {
    assert.throws(() => job({}, {}), /neither a depth map nor a photo/);
  });

  test("to have images that were left unset", () => {
    const unset = { type: "image", uri: "", asset_id: null, data: null, metadata: null };
    assert.throws(() => job({ image: unset, depth_image: unset }, {}), /neither a depth map nor a photo/);
  });
});
