import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { memory } from "@mflux-depth/mlx";
import { componentNames } from "../../src/families/flux1-depth/layout.js";
import { FluxDepth, type FluxDepthOptions } from "../../src/pipeline/flux-depth.js";
import type { LoadProgress } from "../../src/weights/component.js";
import { writeLargeText } from "../support/holes.js";
import { at } from "../support/tensors.js";
import { bundled, exampleImage, gradientMap } from "../support/tiny-world.js";

/* A model whose T5 takes seconds to read. */
let folder: string;
let model: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "mflux-depth-loading-"));
  model = join(folder, "model");
  writeLargeText(model, 25);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const request = {
  prompt: "a cube",
  depthImage: gradientMap,
  width: 64,
  height: 64,
  steps: 1,
  seed: 1,
} as const;

const inMemory = (): readonly number[] => {
  memory.clearCache();
  return [memory.activeMemory(), memory.liveHandles()];
};

describe("while weights are read", () => {
  test("disposing the instance ends the generation and frees them", async () => {
    const baseline = inMemory();
    let last: LoadProgress | undefined;
    const flux = await FluxDepth.load({
      model,
      onProgress(event) {
        if (event.state === "download" || event.component !== "text_encoder_2") return;
        last = event;
        if (event.bytesDone >= event.bytes / 4) flux.dispose();
      },
    });
    await assert.rejects(flux.generate(request), /has been disposed/);
    assert.ok(last && last.bytesDone < last.bytes / 2);
    assert.deepEqual(inMemory(), baseline);
  });

  for (const component of componentNames)
    test(`aborting one instance leaves another, which reads its ${component}, alone`, async () => {
      const make = async (onProgress?: FluxDepthOptions["onProgress"]) => {
        using flux = await FluxDepth.load({ model: bundled, onProgress });
        const { image, latents } = await flux.generate(request);
        return { image, latents };
      };
      const expected = await make();
      const controller = new AbortController();
      using aborted = await FluxDepth.load({ model });
      const [failed, made] = await Promise.allSettled([
        aborted.generate({ ...request, signal: controller.signal }),
        make((event) => {
          if (event.state === "start" && event.component === component) setTimeout(() => controller.abort());
        }),
      ]);
      assert.ok(failed.status === "rejected" && (failed.reason as Error).name === "AbortError");
      assert.deepEqual(made, { status: "fulfilled", value: expected });
    });

  test("Ctrl-C ends the command line at once with 130", async () => {
    const flags = [
      ...["--model", model, "--depth-image", exampleImage("portrait_depth.png")],
      ...["--width", "64", "--height", "64", "--steps", "1"],
      ...["--prompt", "a cube", "--output", join(folder, "x.png")],
    ];
    const child = spawn(process.execPath, [at("bin/mflux-depth.js"), "generate", ...flags]);
    const reading = /reading text_encoder_2, ([\d.]+) MB of ([\d.]+) MB/g;
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      const isFirst = !stderr.match(reading);
      stderr += text;
      if (isFirst && stderr.match(reading)) child.kill("SIGINT");
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 130, stderr);
    assert.match(stderr, /Stopping …\n$/);
    const [, done, all] = [...stderr.matchAll(reading)].at(-1)!;
    assert.ok(Number(done) < Number(all) / 2, stderr);
  });
});
