import assert from "node:assert/strict";
import { test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { definition } from "../src/definition.js";
import { jobOf } from "../src/inputs.js";

const picture = Uint8Array.of(1, 2, 3, 4);
const unset = { type: "image", uri: "", asset_id: null, data: null, metadata: null };
const job = (
  fields: Record<string, unknown> = {},
  blobs: Record<string, unknown> = { depth_image: picture },
) => jobOf({ fields, blobs });

test("without fields, the defaults of the definition", () => {
  const defaults = Object.fromEntries(definition.properties.map(({ name, default: value }) => [name, value]));
  const expected = {
    load: { model: "black-forest-labs/FLUX.1-Depth-dev", quantize: 4 },
    request: {
      prompt: "Highly detailed cinematic portrait with depth cues",
      image: null,
      depthImage: picture,
      steps: 20,
      guidance: 10,
      width: 1024,
      height: 1024,
      seed: 0,
    },
    format: "png",
  };
  assert.deepEqual(job(), expected);
  assert.deepEqual(job(defaults), expected, "as the host sends them when nothing was changed");
  assert.deepEqual(job({ steps: undefined, width: null, somethingNew: { a: 1 } }), expected);
});

test("each form of a picture", () => {
  const base64 = Buffer.from(picture).toString("base64");
  const forms: unknown[] = [
    { type: "image", data: base64, mimeType: "image/png", width: 2, height: 2 },
    { type: "image", uri: "", data: `data:image/png;base64,${base64}` },
    { type: "image", data: picture },
    { type: "image", uri: `data:image/png;base64,${base64}`, data: null },
    { type: "image", uri: "data:application/octet-stream,%01%02%03%04" },
    { type: "image", data: `${base64.slice(0, 3)}\n${base64.slice(3)}` },
    `data:image/png;base64,${base64}`,
    base64,
    picture,
    [{ type: "image", data: base64 }],
  ];
  for (const form of forms) {
    const { request } = job({ image: form }, {});
    assert.deepEqual([...(request.image as Uint8Array)], [1, 2, 3, 4], JSON.stringify(form));
    assert.equal(request.depthImage, null);
  }
  assert.deepEqual(job({ image: unset }, { image: [picture] }).request.image, picture);
  for (const nothing of [unset, null, undefined, {}, "", [], { type: "image" }, { data: "" }])
    assert.equal(job({ image: nothing }).request.image, null, JSON.stringify(nothing));
});

test("each form of a model", () => {
  const model = (value: unknown) => job({ model: value }).load.model;
  const repo = "black-forest-labs/FLUX.1-Depth-dev";
  for (const value of [undefined, null, "", {}, { type: "hf.flux_depth", repo_id: "" }])
    assert.equal(model(value), repo);
  assert.equal(
    model({ type: "hf.flux_depth", repo_id: "tiny-world", path: null, variant: null }),
    "tiny-world",
  );
  assert.equal(model({ type: "hf.depth_generation", repo_id: "me/mine" }), "me/mine");
  assert.equal(model("me/mine"), "me/mine");
  assert.equal(model({ repo_id: "", path: "/models/mine" }), "/models/mine");
  const unset = { path: null, variant: "", allow_patterns: null, ignore_patterns: [] };
  assert.equal(model({ repo_id: "me/mine", ...unset }), "me/mine");
  const all = { path: "v2", variant: "fp16", allow_patterns: ["*.json"], ignore_patterns: ["*.bin", "x"] };
  assert.deepEqual(model({ type: "hf.flux_depth", repo_id: "me/mine", ...all }), {
    repo_id: "me/mine",
    ...all,
  });
  assert.deepEqual(model({ path: "/models/mine", variant: "fp16" }), {
    repo_id: "/models/mine",
    variant: "fp16",
  });
  assert.deepEqual(model({ repo_id: "me/mine", allow_patterns: "*.json" }), {
    repo_id: "me/mine",
    allow_patterns: ["*.json"],
  });
});

test("numbers as forms and older versions send them", () => {
  assert.equal(job({ quantize: null }).load.quantize, "none");
  assert.equal(job({ quantize: "8" }).load.quantize, 8);
  assert.equal(job({ guidance: null }).request.guidance, 10);
  assert.equal(job({ guidance: 0 }).request.guidance, 0);
  assert.equal(job({ steps: "12" }).request.steps, 12);
  assert.equal(job({ seed: 4294967295 }).request.seed, 4294967295);
  assert.equal(job({ width: 257 }).request.width, 257);
});

const refused: readonly [property: string, value: unknown, message: RegExp][] = [
  ["prompt", "  \n", /^Prompt cannot be empty for depth-guided generation\.$/],
  ["prompt", 5, /prompt must be a text/],
  ["steps", 0, /steps must be a whole number from 1 to 50, not 0/],
  ["steps", 51, /1 to 50, not 51/],
  ["steps", 2.5, /whole number/],
  ["steps", true, /not true/],
  ["guidance", -1, /guidance must be a number of at least 0, not -1/],
  ["guidance", Number.NaN, /guidance/],
  ["guidance", Number.POSITIVE_INFINITY, /guidance/],
  ["width", 255, /width must be a whole number from 256 to 2048, not 255/],
  ["height", 2049, /height must be a whole number from 256 to 2048, not 2049/],
  ["seed", -1, /seed/],
  ["seed", 2 ** 32, /seed/],
  ["quantize", 7, /quantize must be one of 3, 4, 5, 6, 8, none, not 7/],
  [
    "image",
    { type: "image", uri: "memory://gone" },
    /image could not be loaded by NodeTool: "memory:\/\/gone"/,
  ],
  ["image", { data: "not base64!" }, /image holds a text that is neither base64 nor a data URI/],
  ["image", "data:image/png,%zz", /damaged/],
  ["image", 12, /image must be a picture/],
  ["image", [picture, picture], /image holds 2 pictures/],
  ["model", 12, /model/],
  ["model", { repo_id: 12 }, /model\.repo_id/],
  ["model", { repo_id: "a/b", variant: 16 }, /model\.variant must be a text/],
  ["model", { repo_id: "a/b", path: ["x"] }, /model\.path must be a text/],
  ["model", { repo_id: "a/b", allow_patterns: [1] }, /model\.allow_patterns must be a list of texts/],
  ["model", { repo_id: "a/b", ignore_patterns: {} }, /model\.ignore_patterns must be a list of texts/],
];

for (const [property, value, message] of refused)
  test(`refused: ${property} = ${typeof value === "string" ? JSON.stringify(value) : String(JSON.stringify(value))}`, () => {
    assert.throws(
      () => job({ [property]: value }),
      (error) => error instanceof OptionError && error.option === property && message.test(error.message),
    );
  });

test("no picture at all is refused, whatever was left unset", () => {
  for (const fields of [{}, { image: unset, depth_image: unset }])
    assert.throws(() => job(fields, {}), /connect a depth map to depth_image, or a photo to image/);
});
