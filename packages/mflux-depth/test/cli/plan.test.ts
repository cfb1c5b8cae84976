import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MemoryPlan } from "../../src/memory/plan.js";
import { call, map, type Outcome } from "../support/command-line.js";
import { at as inPackage } from "../support/tensors.js";
import { onMachineWith } from "../support/tiny-world.js";

const plan = (...argv: string[]): Promise<Outcome> => call(["plan", ...argv]);

describe("plan", () => {
  let cache: string | undefined;
  before(() => {
    cache = process.env.HF_HUB_CACHE;
    process.env.HF_HUB_CACHE = "/nowhere";
  });
  after(() => {
    if (cache === undefined) delete process.env.HF_HUB_CACHE;
    else process.env.HF_HUB_CACHE = cache;
  });

  test("prints each stage, the machine and the verdict", async () => {
    const size = ["--width", "512", "--height", "512"];
    const { code, stdout } = await plan("--model", "tiny-world", ...size, "--low-ram");
    assert.equal(code, 0);
    for (const stage of ["text", "control", "denoise", "decode"])
      assert.match(stdout, new RegExp(`^${stage}( +[1-9][\\d.]* (GB|MB|kB)){3}$`, "m"));
    assert.match(stdout, /This machine has [\d.]+ GB of memory, of which [\d.]+ [GM]B are available/);
    assert.match(stdout, /It fits/);
  });

  test("exits with 1 and names flags if the generation would not fit", async () => {
    const { code, stdout } = await onMachineWith(0.25, () => plan("--model", "tiny-world"));
    assert.equal(code, 1);
    assert.match(stdout, /It does not fit\. It would with:\n.*--width \d+ --height \d+: [\d.]+ MB/);
  });

  test("names flags in its notes", async () => {
    const { stdout } = await plan(
      "--model",
      "tiny-world",
      "--image-path",
      "photo.png",
      "--depth-quantize",
      "8",
    );
    assert.match(stdout, /^Note: .*\. With --depth-quantize none, it stays in float32\.$/m);
  });

  test("counts the judge of --best-of", async () => {
    const { code, stdout } = await plan("--model", "tiny-world", "--best-of", "4");
    assert.equal(code, 0);
    assert.match(stdout, /^judge( +[1-9][\d.]* (GB|MB|kB)){3}$/m);
    const { stdout: help } = await plan("--help");
    assert.match(help, /--best-of N/);
  });

  test("refuses --judge without --best-of, as generate does", async () => {
    const { code, stderr } = await plan("--model", "tiny-world", "--judge", "tiny-world");
    assert.equal(code, 2);
    assert.match(stderr, /--judge scores images for --best-of; give --best-of\./);
  });

  test("refuses seeds given in two ways, as generate does", async () => {
    const { code, stderr } = await plan("--model", "tiny-world", "--seed", "0", "--auto-seeds", "3");
    assert.equal(code, 2);
    assert.match(stderr, /Give either --seed or --auto-seeds, not both\./);
  });

  test("refuses a revision of the bundled model", async () => {
    const { code, stderr } = await plan("--model", "tiny-world", "--revision", "nope");
    assert.equal(code, 1);
    assert.match(stderr, /^tiny-world: has no revision "nope", .* package\. Leave out --revision\.$/m);
  });

  test("refuses a file that is not the transformer before it looks for the other components", async () => {
    const vae = inPackage("models/tiny-world/vae/diffusion_pytorch_model.safetensors");
    for (const [file, message] of [
      [map, /not a safetensors file\n$/],
      [vae, /this is not FLUX\.1's transformer/],
    ] as const) {
      const { code, stderr } = await plan("--model", file);
      assert.equal(code, 1);
      assert.match(stderr, message);
    }
  });

  test("says that a file needs --components-from", async () => {
    const { stderr } = await plan(
      ...["--model", inPackage("models/tiny-world/transformer/diffusion_pytorch_model.safetensors")],
    );
    assert.match(
      stderr,
      / divided\. Use --components-from NAME to name the model that it was made from\.\n$/,
    );
  });

  test("prints JSON", async () => {
    const { code, stdout } = await plan("--model", "tiny-world", "--json", "-q", "8");
    assert.equal(code, 0);
    const { stages, peak, fits } = JSON.parse(stdout) as MemoryPlan;
    assert.equal(peak, Math.max(...stages.map((one) => one.peak)));
    assert.equal(fits, true);
  });

  test("accepts a command line of generate", async () => {
    const { code, stderr } = await plan(
      ...["--model", "tiny-world", "--prompt-file", "prompt.txt", "--auto-seeds", "2", "--output", "x.png"],
      ...["--overwrite", "--metadata", "--save-depth-map", "--quiet"],
    );
    assert.deepEqual([code, stderr], [0, ""]);
  });

  test("says that a model is not on this machine", async () => {
    const { code, stderr } = await plan();
    assert.equal(code, 1);
    assert.match(stderr, /FLUX\.1-Depth-dev: it is neither a folder nor.*in the Hugging Face cache/);
  });
});
