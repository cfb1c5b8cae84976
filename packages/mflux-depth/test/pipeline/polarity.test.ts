import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { readDepthMap } from "../../src/images/decode.js";
import { toLevels } from "../../src/images/encode.js";
import type { FluxDepth, GenerationEvent, GenerationResult, RawImage } from "../../src/index.js";
import { folderPerTest } from "../support/folders.js";
import { largestDifference } from "../support/images.js";
import { bundled, exampleImage, loadTinyWorld, logLoads, smallRequest } from "../support/tiny-world.js";

const currentFolder = folderPerTest("polarity");

describe("a depth map with a photo", () => {
  // A room comes nearer towards its borders. Judged by itself, its map passes in either polarity.
  const request = {
    ...smallRequest,
    image: exampleImage("room.png"),
    depthImage: exampleImage("room_depth.png"),
    imageStrength: 0.5,
  };
  const log: string[] = [];
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld({ ...logLoads(log), memory: "resident" });
  });
  after(() => flux.dispose());

  test("is not compared if the photo has no other use", async () => {
    const { warnings } = await flux.generate({ ...request, imageStrength: 0, invertDepth: true });
    assert.deepEqual([warnings, log.includes("depth_pro")], [[], false]);
  });

  test("is not compared if the user trusts it", async () => {
    const { warnings } = await flux.generate({ ...request, trustDepth: true, invertDepth: true });
    assert.deepEqual([warnings, log.includes("depth_pro")], [[], false]);
  });

  test("passes if it agrees with the photo's depth", async () => {
    const { warnings } = await flux.generate(request);
    assert.deepEqual([warnings, log.includes("depth_pro")], [[], true]);
  });

  test("gets one warning, before the steps, if it disagrees with the photo's depth", async () => {
    const events: GenerationEvent[] = [];
    for await (const event of flux.steps({ ...request, invertDepth: true, seed: 8 })) events.push(event);
    const names = events.map((event) =>
      event.type === "stage" ? `${event.stage} ${event.state}` : event.type,
    );
    assert.deepEqual(names.slice(2, 6), ["depth start", "depth end", "warning", "control start"]);
    const last = events.at(-1)!;
    assert.ok(last.type === "result");
    assert.equal(last.result.warnings.length, 1);
    assert.match(
      last.result.warnings[0]!,
      /disagrees with the photo's depth\. If white means near in this file, omit invertDepth\.$/,
    );
  });

  test("is compared with one estimate for several seeds", () => {
    assert.equal(log.filter((component) => component === "depth_pro").length, 1);
  });
});

describe("the comparison with a photo", () => {
  const request = { ...smallRequest, image: exampleImage("portrait.png"), imageStrength: 0.5 };

  test("is left out if the depth estimator is not on this machine", async () => {
    using flux = await loadTinyWorld({ depthModel: "nobody/absent" });
    assert.deepEqual((await flux.generate(request)).warnings, []);
  });

  test("is left out with a warning if the depth estimator is damaged", async () => {
    const folder = join(currentFolder(), "damaged-depth");
    mkdirSync(folder);
    for (const file of readdirSync(join(bundled, "depth_pro")))
      copyFileSync(join(bundled, "depth_pro", file), join(folder, file));
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    config.fusion_hidden_size *= 2;
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    using flux = await loadTinyWorld({ depthModel: folder });
    const [warning, ...others] = (await flux.generate(request)).warnings;
    assert.match(warning!, /not compared with the photo's depth: .*damaged-depth/);
    assert.deepEqual(others, []);
  });
});

describe("a depth map without a photo", () => {
  const warnsOfInversion = ({ warnings }: GenerationResult): boolean =>
    warnings.some((warning) => /invertDepth/.test(warning));
  let flux: FluxDepth;
  let expected: GenerationResult;
  let inverted: RawImage;
  before(async () => {
    flux = await loadTinyWorld();
    const depthImage = exampleImage("portrait_depth.png");
    expected = await flux.generate({ ...smallRequest, depthImage });
    const map = await readDepthMap(depthImage);
    const data = toLevels(map, 8).map((level) => 255 - level);
    inverted = { data, width: map.width, height: map.height, channels: 1 };
  });

  test("passes if near is white", () => {
    assert.ok(!warnsOfInversion(expected));
  });

  test("gets a warning if it looks inverted", async () => {
    assert.ok(warnsOfInversion(await flux.generate({ ...smallRequest, depthImage: inverted, steps: 1 })));
  });

  test("is inverted with invertDepth, without a warning", async () => {
    const result = await flux.generate({ ...smallRequest, depthImage: inverted, invertDepth: true });
    assert.ok(largestDifference(result.depthMap.data, expected.depthMap.data) < 1e-6);
    assert.equal(result.metadata.depth_inverted, true);
    assert.ok(!warnsOfInversion(result));
  });
});
