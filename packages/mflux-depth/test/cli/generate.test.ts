import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { before, describe, test } from "node:test";
import sharp from "sharp";
import { readDepthMap } from "../../src/images/decode.js";
import { lanczos, resize } from "../../src/images/resample.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import {
  bin,
  CommandLine,
  map,
  type Outcome,
  pixels,
  smallImage,
  smallRequest,
} from "../support/command-line.js";
import { at as inPackage } from "../support/tensors.js";

const golden = inPackage("test/golden/");
const tinyWorld = inPackage("models/tiny-world");

const { at, call, run } = new CommandLine();

/** Expects one sentence, the code, no stack, nothing on standard output, and no file. */
async function refused(argv: readonly string[], code: number, message: RegExp, input = ""): Promise<void> {
  const out = await mkdtemp(at("out-"));
  const output = argv.includes("--output") ? [] : ["--output", join(out, "x.png")];
  const outcome = await call([...argv, ...output], { input });
  // Progress up to the failure comes first.
  const said = outcome.stderr.trimEnd().split("\n").at(-1)!;
  assert.match(said, message);
  assert.equal(outcome.code, code, outcome.stderr);
  assert.doesNotMatch(outcome.stderr, /\n\s+at |Unexpected/);
  assert.equal(outcome.stdout, "");
  assert.deepEqual(await readdir(out), []);
}

describe("LoRAs on the command line", () => {
  const lora = (name: string): string => join(golden, `adapters/${name}.safetensors`);

  test("change the image, and are in its parameters", async () => {
    const loras = ["--lora", lora("kohya"), "-0.5", "--lora", lora("second")];
    const { code, stderr } = await run([
      ...smallRequest,
      ...loras,
      "--seed",
      "7",
      "--output",
      at("lora.png"),
    ]);
    assert.equal(code, 0, stderr);
    const { parameters } = JSON.parse((await call(["info", at("lora.png"), "--json"])).stdout);
    assert.deepEqual(parameters.lora_paths, ["kohya.safetensors", "second.safetensors"]);
    assert.deepEqual(parameters.lora_scales, [-0.5, 1]);
    await call([...smallRequest, "--seed", "7", "--output", at("plain.png")]);
    assert.notDeepEqual(await pixels(at("lora.png")), await pixels(at("plain.png")));
  });

  test("are refused with the flag that uses the rest", async () => {
    await refused(
      [...smallRequest, "--lora", lora("strict")],
      1,
      /2 keys belong to no layer of this model.*Use --lora-lenient to use the rest\.$/,
    );
  });
});

describe("generate exits with 2 for", () => {
  const withMap = ["generate", "--depth-image-path", map];
  const cases: [string, string[], RegExp][] = [
    ["an unknown flag", ["generate", "--step", "3"], /^There is no flag --step; did you mean --steps\?$/],
    ["an extra argument", ["generate", "portrait"], /^"portrait" is not a flag/],
    ["no prompt", withMap, /^--prompt is missing/],
    [
      "a blank prompt",
      [...withMap, "--prompt", " \t"],
      /^--prompt must be non-blank text of at most 20000 characters, not " \\t"\.$/,
    ],
    ["a blank prompt on standard input", [...withMap, "--prompt", "-"], /prompt in standard input is blank/],
    ["a missing prompt file", [...withMap, "--prompt-file", "none.txt"], /none.txt: there is no such file/],
    ["a prompt that is too long", [...withMap, "--prompt", "x".repeat(20_001)], /at most 20000 characters/],
    [
      "a prompt file without end",
      [...withMap, "--prompt-file", "/dev/zero"],
      /\/dev\/zero: is not a regular file; pipe the prompt into --prompt-file - instead\.$/,
    ],
    ["a prompt file that is a folder", [...withMap, "--prompt-file", "/"], /\/: is a folder/],
    ["two prompts", [...withMap, "--prompt", "a", "--prompt-file", "b"], /not both/],
    [
      "no image",
      ["generate", "--prompt", "x"],
      /^There is neither a depth map nor a photo.* Use --depth-image-path FILE\. Use --image-path FILE to estimate depth/,
    ],
    ["no steps", [...smallRequest, "--steps", "0"], /^--steps must be a whole number from 1 to 50, not 0\.$/],
    ["half a step", [...smallRequest, "--steps=2.5"], /not 2\.5/],
    [
      "a width that is not a number",
      [...smallRequest, "--width", "wide"],
      /^--width must be .*, not "wide"\.$/,
    ],
    ["a width of NaN", [...smallRequest, "--width", "NaN"], /not "NaN"/],
    ["a width too small", [...smallRequest, "--width", "8"], /from 16 to 4096, not 8/],
    ["a height too large", [...smallRequest, "--height", "5000"], /not 5000/],
    ["a negative height", [...smallRequest, "--height", "-64"], /not -64/],
    ["negative guidance", [...smallRequest, "--guidance", "-1"], /from 0 to 100, not -1/],
    ["endless guidance", [...smallRequest, "--guidance", "1e300"], /from 0 to 100, not 1e\+300/],
    ["a seed too large", [...smallRequest, "--seed", "4294967296"], /not 4294967296/],
    ["seeds given in two ways", [...smallRequest, "--seed", "1", "--auto-seeds", "2"], /not both/],
    ["a seed and noise", [...smallRequest, "--seed", "1", "--latents", "x.safetensors"], /needs no seed/],
    [
      "memory given in two ways",
      [...smallRequest, "--low-ram", "--memory", "resident"],
      /either --low-ram or --memory resident, not both/,
    ],
    ["baking without a LoRA", [...smallRequest, "--bake-lora"], /--bake-lora .* give one with --lora\./],
    [
      "leniency without a LoRA",
      [...smallRequest, "--lora-lenient"],
      /--lora-lenient .* give one with --lora\./,
    ],
    [
      "bits that do not exist",
      [...smallRequest, "-q7"],
      /^-q must be one of 3, 4, 5, 6, 8, none, not "7"\.$/,
    ],
    [
      "strength without a photo",
      [...smallRequest, "--image-strength", "0.5"],
      /no photo.*Leave out --image-strength\./,
    ],
    [
      "an output of another format",
      [...smallRequest, "--output", "x.bmp"],
      /^--output must end in \.png, \.jpg, \.jpeg or \.webp/,
    ],
    ["noise that is not there", [...smallRequest, "--latents", "none.safetensors"], /none\.safetensors/],
  ];
  for (const [name, argv, message] of cases) test(name, () => refused(argv, 2, message));
});

describe("generate exits with 1 for a depth map that", () => {
  const grey = (width: number, height: number): Promise<Buffer> =>
    sharp({ create: { width, height, channels: 3, background: "#808080" } })
      .png()
      .toBuffer();

  before(async () => {
    const png = await readFile(map);
    await writeFile(at("empty.png"), "");
    await writeFile(at("text.png"), "not an image");
    await writeFile(at("cut.png"), png.subarray(0, png.length / 2));
    await writeFile(at("dot.png"), await grey(1, 1));
    await writeFile(at("long.png"), await grey(30_000, 30));
    await mkdir(at("folder.png"));
    const frames = Buffer.alloc(32 * 64 * 3, 90).fill(200, 0, 32 * 32 * 3);
    const moving = sharp(frames, { raw: { width: 32, height: 64, channels: 3, pageHeight: 32 } });
    await writeFile(at("moving.gif"), await moving.gif().toBuffer());
  });

  const cases: [string, string, RegExp][] = [
    ["is missing", "nowhere.png", /^nowhere\.png: .*no such file/],
    ["is empty", "empty.png", /empty/],
    ["is text", "text.png", /^text\.png: .*not/],
    ["is cut off", "cut.png", /cut off/],
    ["is a single pixel", "dot.png", /1 × 1 pixels/],
    ["is too long", "long.png", /30000 × 30 pixels/],
    ["is a folder", "folder.png", /is a folder/],
    ["is animated", "moving.gif", /animated/],
  ];
  for (const [what, file, message] of cases)
    test(what, () => refused([...smallImage, "--prompt", "x", "--depth-image-path", file], 1, message));
});

describe("generate exits with 1, before any work, for an output", () => {
  test("in a folder that does not exist", () =>
    refused([...smallRequest, "--output", at("none/x.png")], 1, /the folder .*none does not exist/));

  test("below a file", async () => {
    await writeFile(at("file"), "");
    await refused([...smallRequest, "--output", at("file/x.png")], 1, /is not a folder/);
  });

  test("that is a folder", async () => {
    await mkdir(at("folder.webp"));
    await refused([...smallRequest, "--output", at("folder.webp")], 1, /is a folder/);
  });

  const name = (bytes: number): string => at(`${"n".repeat(bytes - 4)}.png`);
  const cases: readonly [what: string, argv: readonly string[]][] = [
    ["whose name is too long", ["--output", name(256)]],
    ["whose name is too long with a seed", ["--output", name(250), "--seed", "1", "2"]],
    ["whose sidecar's name is too long", ["--output", name(250), "--metadata"]],
    ["whose depth map's name is too long", ["--output", name(250), "--save-depth-map"]],
  ];
  for (const [what, argv] of cases)
    test(what, () => refused([...smallRequest, ...argv], 1, /the name is too long/));
});

describe("generate with a name of 255 bytes", () => {
  const output = at(`${"ü".repeat(125)}x.png`);

  test("writes the image", async () => {
    const { code, stdout, stderr } = await call([...smallRequest, "--output", output]);
    assert.deepEqual([code, stdout], [0, `${output}\n`], stderr);
  });

  test("cuts the name if it is taken", async () => {
    await writeFile(output, "");
    const { code, stdout, stderr } = await call([...smallRequest, "--output", output]);
    assert.deepEqual([code, stdout], [0, `${at(`${"ü".repeat(124)}_1.png`)}\n`], stderr);
  });
});

describe("generate exits with 1 for a model", () => {
  const file = "text_encoder/model.safetensors";
  const key = "text_model.final_layer_norm.weight";

  /** The bundled model with one file replaced, or without it. */
  async function damaged(name: string, damage: (bytes: Buffer) => Buffer | null): Promise<string> {
    const root = at(name);
    await mkdir(root);
    for (const entry of await readdir(tinyWorld))
      if (entry !== "text_encoder") await symlink(join(tinyWorld, entry), join(root, entry));
    await cp(join(tinyWorld, "text_encoder"), join(root, "text_encoder"), { recursive: true });
    const replaced = damage(await readFile(join(tinyWorld, file)));
    if (replaced) await writeFile(join(root, file), replaced);
    else await rm(join(root, file));
    return root;
  }

  /** The file with its header edited. */
  const withHeader =
    (edit: (header: string) => string) =>
    (bytes: Buffer): Buffer => {
      const length = Number(bytes.readBigUInt64LE(0));
      const header = Buffer.from(edit(bytes.toString("utf8", 8, 8 + length)));
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([size, header, bytes.subarray(8 + length)]);
    };

  const cases: [string, (bytes: Buffer) => Buffer | null, RegExp][] = [
    ["without a file", () => null, /text_encoder/],
    ["with a file that is cut off", (bytes) => bytes.subarray(0, bytes.length - 1000), /model\.safetensors/],
    [
      "with a header that announces too much",
      (bytes) => {
        bytes.writeBigUInt64LE(1n << 40n);
        return bytes;
      },
      /model\.safetensors/,
    ],
    [
      "without a tensor",
      withHeader((header) => header.replace(key, key.replace("final", "fin"))),
      /final_?[lL]ayer_?[nN]orm/,
    ],
    [
      "with a tensor of another shape",
      withHeader((header) =>
        header.replace(/("text_model\.final_layer_norm\.weight":\{[^}]*"shape":\[)(\d+)\]/, "$1$2,1]"),
      ),
      /final_?[lL]ayer_?[nN]orm/,
    ],
  ];
  for (const [what, damage, message] of cases)
    test(what, async () => refused([...smallRequest, "-m", await damaged(what, damage)], 1, message));

  test("that is not a folder", () => refused([...smallRequest, "-m", at("nothing here")], 1, /nothing here/));

  test("that is not cached, when offline", () =>
    refused([...smallRequest, "-m", "nobody/nothing", "--offline"], 1, /nobody\/nothing/));
});

describe("generate", () => {
  let first: Outcome;
  const repeated = [...smallRequest, "--seed", "7", "--output", at("same/x.png"), "--metadata"];
  before(async () => {
    await mkdir(at("same"));
    first = await run(repeated);
    assert.equal(first.code, 0, first.stderr);
  });

  test("prints the image's path on standard output", () => {
    assert.equal(first.stdout, `${at("same/x.png")}\n`);
  });

  test("prints progress on standard error", () => {
    for (const line of [/^denoising 1\/2: .* s, .* left$/m, /^denoising 2\/2/m, /^decoding the image: /m])
      assert.match(first.stderr, line);
  });

  test("makes the image that the library makes", async () => {
    using flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    const { image } = await flux.generate({
      ...{ prompt: "a gold portrait", depthImage: map, width: 64, height: 64, steps: 2, seed: 7 },
    });
    assert.ok((await pixels(at("same/x.png"))).equals(image.data));
  });

  test("keeps an existing file and writes the same pixels next to it", async () => {
    const again = await call([...repeated, "--quiet"]);
    assert.deepEqual(again, { code: 0, stdout: `${at("same/x_1.png")}\n`, stderr: "" });
    assert.ok((await pixels(at("same/x_1.png"))).equals(await pixels(at("same/x.png"))));
  });

  test("replaces an existing file with --overwrite", async () => {
    const output = at("same/replaced.png");
    await writeFile(output, "old");
    const { stdout } = await call([...smallRequest, "--seed", "8", "--output", output, "--overwrite"]);
    assert.equal(stdout, `${output}\n`);
    assert.equal((await pixels(output)).length, 64 * 64 * 3);
  });

  test("turns the reference's noise into the reference's image", async () => {
    const { pipeline } = JSON.parse(await readFile(join(golden, "index.json"), "utf8"));
    const { prompt, width, height, steps, guidance } = pipeline[0];
    const { code, stderr } = await call([
      ...["generate", "-m", "tiny-world", "-q", "none", "--dtype", "float32", "--device", "cpu"],
      ...["--prompt", prompt, "--depth-image-path", map, "--latents", join(golden, "pipeline_0.safetensors")],
      ...["--width", `${width}`, "--height", `${height}`, "--steps", `${steps}`, "--guidance", `${guidance}`],
      ...["--output", at("golden.png")],
    ]);
    assert.equal(code, 0, stderr);
    const [made, expected] = [await pixels(at("golden.png")), await pixels(join(golden, "pipeline_0.png"))];
    assert.equal(made.length, expected.length);
    const far = made.filter((v, i) => Math.abs(v - expected[i]!) > 2).length;
    assert.ok(far <= made.length / 1000, `${far} of ${made.length} values differ by more than 2`);
  });
});

describe("generate with several seeds", () => {
  let outcome: Outcome;
  let objects: Record<string, unknown>[];
  before(async () => {
    await mkdir(at("several"));
    outcome = await run(
      [
        ...[...smallImage, "--depth-image", map, "--prompt-file", "-"],
        ...["--seed", "3", "4", "--json", "--save-depth-map", "-o", at("several/x.jpg")],
      ],
      { input: "\ufeff a silver portrait: 日本\n" },
    );
    assert.equal(outcome.code, 0, outcome.stderr);
    const lines = outcome.stdout.trim().split("\n");
    objects = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  });

  test("prints one JSON object per image, with the seed in its name", () => {
    assert.deepEqual(
      objects.map(({ path, seed, width, height }) => [basename(path as string), seed, width, height]),
      [
        ["x_seed_3.jpg", 3, 64, 64],
        ["x_seed_4.jpg", 4, 64, 64],
      ],
    );
  });

  test("reads the prompt from standard input, without byte-order mark and spaces around it", () => {
    const { prompt } = objects[0]!.parameters as Record<string, unknown>;
    assert.equal(prompt, "a silver portrait: 日本");
  });

  test("loads the model once", () => {
    assert.equal(outcome.stderr.match(/reading transformer/g)?.length, 1);
  });

  test("writes the depth map that was used once, next to the first image", async () => {
    const mapPath = at("several/x_seed_3_depth_map.png");
    assert.deepEqual(
      objects.map(({ depth_map_path: path }) => path),
      [mapPath, undefined],
    );
    assert.deepEqual((await readdir(at("several"))).toSorted(), [
      "x_seed_3.jpg",
      "x_seed_3_depth_map.png",
      "x_seed_4.jpg",
    ]);
    const [written, given] = [await readDepthMap(mapPath), await readDepthMap(map)];
    const { data } = resize(given, 64, 64, lanczos);
    for (const [i, v] of written.data.entries())
      assert.ok(Math.abs(v - Math.min(Math.max(data[i]!, 0), 1)) <= 0.5 / 65535 + 1e-6, `${i}`);
  });
});

describe("generate with random seeds", () => {
  let outcome: Outcome;
  let seeds: readonly string[];
  before(async () => {
    await mkdir(at("random"));
    const output = at("random/{seed}.webp");
    outcome = await call([...smallRequest, "--width", "70", "--auto-seeds", "2", "--output", output]);
    assert.equal(outcome.code, 0, outcome.stderr);
    seeds = [...outcome.stderr.matchAll(/^Seed: (\d+)$/gm)].map(([, seed]) => seed!);
  });

  test("prints a different seed for each image", () => {
    assert.equal(new Set(seeds).size, 2);
  });

  test("puts the seed in place of {seed}", () => {
    assert.deepEqual(
      outcome.stdout.trim().split("\n"),
      seeds.map((seed) => at(`random/${seed}.webp`)),
    );
  });

  test("prints a warning once for all images", () => {
    assert.equal(outcome.stderr.match(/width 70 is not a multiple of 16; using 64/g)?.length, 1);
  });
});

describe("generate with a map that looks inverted", () => {
  test("warns, with the flag that swaps near and far", async () => {
    await sharp(map).negate().toFile(at("inverted.png"));
    const argv = [...smallImage, "--prompt", "x", "--depth-image", at("inverted.png"), "-o", at("swap.png")];
    const { code, stderr } = await call(argv);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^Note: .*inverted\.png .* If white means far in this file, use --invert-depth\.$/m);
  });
});

describe("Ctrl-C", () => {
  test("stops generate within a step, with 130 and no file", async () => {
    await mkdir(at("stopped"));
    const steps = (text: string): number => text.match(/^denoising \d+\/50/gm)?.length ?? 0;
    let done = 0;
    const large = ["--width", "512", "--height", "512", "--steps", "50"];
    const { code, stdout, stderr } = await run([...smallRequest, ...large, "--output", at("stopped/x.png")], {
      watch: (text, kill) => {
        if (done > 0 || steps(text) === 0) return;
        done = steps(text);
        kill("SIGINT");
      },
    });
    assert.deepEqual([code, stdout], [130, ""], stderr);
    // The signal may come just as a step ends.
    assert.ok(steps(stderr) <= done + 1, stderr);
    assert.match(stderr, /\nStopping …\n$/);
    assert.deepEqual(await readdir(at("stopped")), []);
  });

  test("ends the wait for a prompt on standard input", async () => {
    const child = spawn(process.execPath, [bin, ...smallImage, "--depth-image", map, "--prompt", "-"], {
      stdio: "pipe",
    });
    const ended = once(child, "close");
    // More than a pipe holds: the command has taken some of it and waits for more, as the pipe stays open.
    await new Promise((resolve) => child.stdin.write("a cube ".repeat(100_000), resolve));
    child.kill("SIGINT");
    assert.deepEqual(await ended, [130, null]);
  });
});
