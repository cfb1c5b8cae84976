import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import { CommandLine, smallRequest } from "../support/command-line.js";
import { at as inPackage } from "../support/tensors.js";

const { at, call, run } = new CommandLine();
const example = (name: string): string => inPackage(`../../examples/images/${name}.png`);
const cube = [example("cube"), "--depth", example("cube_depth"), "--depth-model", "tiny-world"];

describe("score", () => {
  test("prints the numbers, the judge and the heatmap", async () => {
    const { code, stdout } = await run(["score", ...cube, "--heatmap", at("where.png"), "--quiet"]);
    assert.equal(code, 0);
    assert.match(stdout, /^RMSE +[\d.]+ of 255\ncorrelation +0\.\d{3}\nAbsRel +[\d.]+\nedge F1 +0\.\d{3}\n/);
    assert.ok(stdout.includes("judged by    tiny-world") && stdout.includes(at("where.png")));
    assert.ok(existsSync(at("where.png")));
  });

  test("prints one JSON object", async () => {
    const { stdout } = await call(["score", ...cube, "--json", "--quiet"]);
    const { image, rmse, correlation, abs_rel, edge_f1, depth_model, heatmap } = JSON.parse(stdout);
    assert.deepEqual([image, depth_model, heatmap], [example("cube"), "tiny-world", null]);
    for (const value of [rmse, correlation, abs_rel, edge_f1]) assert.equal(typeof value, "number");
  });

  test("takes the bundled Depth Anything for an image of tiny-world, whatever the environment names", async () => {
    const image = at("generated.png");
    assert.equal((await call([...smallRequest, "--output", image])).code, 0);
    const env = { MFLUX_DEPTH_DEPTH_MODEL: "nobody/absent", HF_HUB_OFFLINE: "1" };
    const depth = ["--depth", example("portrait_depth")];
    const { code, stdout } = await run(["score", image, ...depth, "--json", "--quiet"], { env });
    assert.equal(code, 0);
    assert.equal(JSON.parse(stdout).depth_model, "tiny-depth-anything");
  });

  const refused: [string, string[], RegExp][] = [
    ["no image", ["--depth", example("cube_depth")], /Specify one image/],
    ["neither a map nor a photo", [example("cube")], /^Give --depth MAP or --photo FILE/],
    ["a map and a photo", [...cube, "--photo", example("cube")], /^Give either --depth or --photo/],
    [
      "a heatmap of an unknown format",
      [...cube, "--heatmap", "where.bmp"],
      /^--heatmap must end in \.png, \.jpg/,
    ],
  ];
  for (const [what, argv, message] of refused)
    test(`refuses ${what} as wrong usage`, async () => {
      const { code, stderr } = await call(["score", ...argv]);
      assert.equal(code, 2);
      assert.match(stderr, message);
    });
});
