import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { loadOptions, requestOptions } from "mflux-depth/options";
import { definition } from "../src/definition.js";
import { documentationPage } from "../src/documentation.js";

const file = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const cli = file("../mflux-depth/bin/mflux-depth.js");
const run = promisify(execFile);

test("the documentation page is NodeTool's, byte for byte", async () => {
  const expected = await readFile(file("test/golden/MFluxDepth.md"), "utf8");
  assert.equal(documentationPage(definition), expected);
  assert.equal((await run(process.execPath, [cli, "worker", "--doc"])).stdout, expected);
});

test("the documentation page follows the definition", () => {
  const [prompt, ...others] = definition.properties;
  const changed = { ...definition, properties: [{ ...prompt!, default: "a cube" }, ...others.slice(0, 2)] };
  const page = documentationPage(changed);
  assert.match(page, /\| prompt \| `str` \| .* \| `a cube` \|/);
  assert.doesNotMatch(page, /quantize/);
});

test("--describe prints the definition", async () => {
  const { stdout } = await run(process.execPath, [cli, "worker", "--describe"]);
  assert.deepEqual(JSON.parse(stdout), definition);
});

test("types, ranges and defaults are those of NodeTool's node", () => {
  const none = { type: "image", uri: "", asset_id: null, data: null };
  const facts = definition.properties.map(({ title: _, description: __, ...rest }) => rest);
  assert.deepEqual(facts, [
    {
      name: "prompt",
      type: { type: "str", type_args: [] },
      default: "Highly detailed cinematic portrait with depth cues",
    },
    { name: "image", type: { type: "image", type_args: [] }, default: none },
    { name: "depth_image", type: { type: "image", type_args: [] }, default: none },
    {
      name: "model",
      type: { type: "hf.flux_depth", type_args: [] },
      default: {
        type: "hf.flux_depth",
        repo_id: "black-forest-labs/FLUX.1-Depth-dev",
        path: null,
        variant: null,
        allow_patterns: null,
        ignore_patterns: null,
      },
    },
    {
      name: "quantize",
      type: {
        type: "enum",
        optional: true,
        values: [3, 4, 5, 6, 8],
        type_args: [],
        type_name: "nodetool.nodes.mlx.text_to_image.QuantizationLevel",
      },
      default: 4,
    },
    { name: "steps", type: { type: "int", type_args: [] }, default: 20, min: 1, max: 50 },
    {
      name: "guidance",
      type: { type: "float", optional: true, type_args: [] },
      default: 10,
      min: 0,
      max: 100,
    },
    { name: "height", type: { type: "int", type_args: [] }, default: 1024, min: 256, max: 2048 },
    { name: "width", type: { type: "int", type_args: [] }, default: 1024, min: 256, max: 2048 },
    { name: "seed", type: { type: "int", type_args: [] }, default: 0 },
  ]);
  assert.deepEqual(definition.outputs, [{ name: "output", type: { type: "image", type_args: [] } }]);
  assert.deepEqual(definition.inline_fields, ["model", "prompt"]);
  assert.deepEqual(definition.input_fields, ["prompt", "image", "depth_image"]);
  assert.equal(definition.basic_fields.length, 10);
  assert.equal(definition.expose_as_tool, true);
  assert.equal(definition.recommended_models[0]?.repo_id, "black-forest-labs/FLUX.1-Depth-dev");
});

test("ranges and defaults come from the options", () => {
  const property = (name: string) => definition.properties.find((one) => one.name === name);
  assert.equal(property("steps")?.default, requestOptions.steps.default);
  assert.equal(property("width")?.max, requestOptions.width.form?.max);
  assert.equal(property("guidance")?.default, requestOptions.guidance.default);
  assert.equal(property("quantize")?.default, loadOptions.quantize.default);
});
