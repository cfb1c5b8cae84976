import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { PassThrough } from "node:stream";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { instructionSet } from "@mflux-depth/mlx";
import { canMultiplyBfloat16, canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import sharp from "sharp";
import { describeBytes } from "../../src/bytes.js";
import { parseFlags } from "../../src/cli/flags.js";
import { duration, progressOn } from "../../src/cli/progress.js";
import { OptionError } from "../../src/errors.js";
import { readDepthMap } from "../../src/images/image.js";
import { lanczos, resize } from "../../src/images/resample.js";
import { loadOptions, requestOptions } from "../../src/options/index.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const bin = path("../../../bin/mflux-depth.js");
const golden = path("../../../test/golden/");
const tinyWorld = path("../../../models/tiny-world");
const map = path("../../../../../examples/images/portrait_depth.png");

let folder: string;
const at = (name: string): string => join(folder, name);
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mflux-depth-cli-"));
});
after(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line as a process. */
function run(
  argv: readonly string[],
  options: {
    input?: string;
    env?: Record<string, string>;
    program?: string;
    /** Sees standard error as it comes; may send a signal. */
    watch?: (stderr: string, kill: (signal: NodeJS.Signals) => void) => void;
  } = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [options.program ?? bin, ...argv], {
    cwd: folder,
    env: { ...process.env, ...options.env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    options.watch?.(stderr, (signal) => child.kill(signal));
  });
  child.stdin.end(options.input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

const small = [
  "generate",
  "-m",
  "tiny-world",
  "-q",
  "none",
  "--width",
  "64",
  "--height",
  "64",
  "--steps",
  "2",
];
const request = [...small, "--prompt", "a gold portrait", "--depth-image-path", map];

const pixels = async (file: string): Promise<Buffer> => sharp(file).raw().toBuffer();

describe("help", () => {
  test("of every command, on standard output", async () => {
    const top = await run(["--help"]);
    assert.equal(top.code, 0);
    assert.deepEqual(await run(["help"]), top);
    const commands = [...top.stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(([, name]) => name!);
    assert.ok(commands.includes("generate") && commands.includes("info") && commands.includes("doctor"));
    for (const name of commands) {
      const { code, stdout, stderr } = await run([name, "--help"]);
      assert.equal(code, 0);
      assert.equal(stderr, "");
      assert.match(stdout, new RegExp(`^Usage: mflux-depth ${name}`));
      for (const line of stdout.split("\n")) assert.ok(line.length <= 120, line);
    }
  });

  test("of generate has every option with its range and default", async () => {
    const { stdout } = await run(["generate", "--help"]);
    for (const spec of [...Object.values(requestOptions), ...Object.values(loadOptions)]) {
      for (const flag of spec.flags) assert.ok(stdout.includes(flag), flag);
      if (spec.default !== undefined)
        assert.ok(stdout.replace(/\s+/g, " ").includes(`efault ${spec.default}`), spec.flags[0]);
    }
    assert.match(stdout.replace(/\s+/g, " "), /Denoising steps\. Whole number from 1 to 50; default 20\./);
  });

  test("loads neither MLX nor the picture codec", async () => {
    const program = at("libraries.mjs");
    await writeFile(
      program,
      `process.argv.splice(2, Infinity, "generate", "--help");
       await import(${JSON.stringify(bin)});
       console.error(process.report.getReport().sharedObjects.filter((name) => /mlx|vips|sharp/.test(name)).join());`,
    );
    const { stdout, stderr } = await run([], { program });
    assert.match(stdout, /^Usage/);
    assert.equal(stderr.trim(), "");
  });

  test("without arguments goes to standard error, as wrong usage", async () => {
    const { code, stdout, stderr } = await run([]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /Usage: mflux-depth COMMAND/);
    assert.match((await run(["--version"])).stdout, /^\d+\.\d+\.\d+\n$/);
  });

  test("before the build there is one line with the fix", async () => {
    await mkdir(at("fresh/bin"), { recursive: true });
    await copyFile(bin, at("fresh/bin/mflux-depth.mjs"));
    const { code, stderr } = await run([], { program: at("fresh/bin/mflux-depth.mjs") });
    assert.equal(code, 1);
    assert.match(stderr, /^mflux-depth is not built: run `npm ci`.*\n$/);
  });
});

/** One sentence, the right code, no stack, nothing on standard output, no file. */
async function refused(
  argv: readonly string[],
  code: number,
  message: RegExp,
  input?: string,
): Promise<void> {
  const out = await mkdtemp(at("out-"));
  const output = argv.includes("--output") || argv[0] !== "generate" ? [] : ["--output", join(out, "x.png")];
  const outcome = await run([...argv, ...output], { ...(input !== undefined && { input }) });
  const label = argv.join(" ");
  // Progress up to the failure comes first.
  const said = outcome.stderr.trimEnd().split("\n").at(-1)!;
  assert.match(said, message, label);
  assert.equal(outcome.code, code, `${label}: ${outcome.stderr}`);
  assert.doesNotMatch(outcome.stderr, /\n\s+at |Unexpected/, label);
  assert.equal(outcome.stdout, "", label);
  assert.deepEqual(await readdir(out), [], label);
}

describe("bad usage exits with 2", () => {
  const withMap = ["generate", "--depth-image-path", map];
  const cases: [string, string[], RegExp][] = [
    ["an unknown command", ["genrate"], /^There is no command genrate; did you mean generate\?$/],
    ["an unknown flag", ["generate", "--step", "3"], /^There is no flag --step; did you mean --steps\?$/],
    ["an unknown flag like none", ["generate", "--zzzzzzz"], /--help lists those there are/],
    ["an argument too many", ["generate", "portrait"], /"portrait" is not a flag/],
    ["no prompt", withMap, /^--prompt is missing/],
    [
      "a blank prompt",
      [...withMap, "--prompt", " \t"],
      /^--prompt must be a text that is not blank, not " \\t"\.$/,
    ],
    ["a flag without its value", [...withMap, "--prompt"], /^--prompt needs a value/],
    ["a flag in place of a value", [...withMap, "--prompt", "--steps", "3"], /^--prompt needs a value/],
    ["a blank prompt on standard input", [...withMap, "--prompt", "-"], /prompt in standard input is blank/],
    ["a missing prompt file", [...withMap, "--prompt-file", "none.txt"], /none.txt: there is no such file/],
    ["a prompt twice", [...withMap, "--prompt", "a", "--prompt-file", "b"], /not both/],
    ["no picture", ["generate", "--prompt", "x"], /^Give a depth map with --depth-image-path/],
    ["no steps", [...request, "--steps", "0"], /^--steps must be a whole number from 1 to 50, not 0\.$/],
    ["too many steps", [...request, "--steps", "51"], /not 51/],
    ["half a step", [...request, "--steps=2.5"], /not 2\.5/],
    ["a width that is no number", [...request, "--width", "wide"], /^--width must be .*, not "wide"\.$/],
    ["a width of NaN", [...request, "--width", "NaN"], /not "NaN"/],
    ["a width too small", [...request, "--width", "8"], /from 16 to 4096, not 8/],
    ["a height too large", [...request, "--height", "5000"], /not 5000/],
    ["a negative height", [...request, "--height", "-64"], /not -64/],
    ["negative guidance", [...request, "--guidance", "-1"], /at least 0, not -1/],
    ["a seed too large", [...request, "--seed", "4294967296"], /not 4294967296/],
    ["one seed of several that is none", [...request, "--seed", "1", "2x"], /not "2x"/],
    ["seeds twice", [...request, "--seed", "1", "--auto-seeds", "2"], /not both/],
    ["seed and noise", [...request, "--seed", "1", "--latents", "x.safetensors"], /needs no seed/],
    ["bits that do not exist", [...request, "-q7"], /^-q must be one of 3, 4, 5, 6, 8, none, not "7"\.$/],
    ["strength without a photo", [...request, "--image-strength", "0.5"], /no photo/],
    [
      "an output of another format",
      [...request, "--output", "x.bmp"],
      /must end in \.png, \.jpg, \.jpeg or \.webp/,
    ],
    ["noise that is not there", [...request, "--latents", "none.safetensors"], /none\.safetensors/],
    ["info of nothing", ["info"], /Name one picture/],
    ["doctor of something", ["doctor", "me"], /"me" is not a flag/],
  ];
  for (const [name, argv, message] of cases) test(name, () => refused(argv, 2, message));

  test("a bad value in the environment is named by its variable", async () => {
    const { code, stderr } = await run(request, { env: { MFLUX_DEPTH_DEVICE: "tpu" } });
    assert.deepEqual([code, stderr], [2, 'MFLUX_DEPTH_DEVICE must be one of gpu, cpu, not "tpu".\n']);
  });
});

describe("what fails exits with 1", () => {
  const withMap = (file: string): string[] => [...small, "--prompt", "x", "--depth-image-path", file];

  test("pictures that cannot be used", async () => {
    const png = await readFile(map);
    const create = (width: number, height: number) =>
      sharp({ create: { width, height, channels: 3, background: "#808080" } })
        .png()
        .toBuffer();
    await writeFile(at("empty.png"), "");
    await writeFile(at("text.png"), "no picture");
    await writeFile(at("cut.png"), png.subarray(0, png.length / 2));
    await writeFile(at("dot.png"), await create(1, 1));
    await writeFile(at("long.png"), await create(30_000, 30));
    await mkdir(at("folder.png"));
    const frames = Buffer.alloc(32 * 64 * 3, 90).fill(200, 0, 32 * 32 * 3);
    const moving = sharp(frames, { raw: { width: 32, height: 64, channels: 3, pageHeight: 32 } });
    await writeFile(at("moving.gif"), await moving.gif().toBuffer());
    for (const [file, message] of [
      ["nowhere.png", /^nowhere\.png: there is no such file\.$/],
      ["empty.png", /empty/],
      ["text.png", /not a picture/],
      ["cut.png", /damaged or cut off/],
      ["dot.png", /1 × 1 pixels/],
      ["long.png", /30000 × 30 pixels/],
      ["folder.png", /is a folder/],
      ["moving.gif", /animated/],
    ] as const)
      await refused(withMap(file), 1, message);
  });

  test("places that cannot be written, before any work", async () => {
    await refused(
      [...request, "--output", at("none/x.png")],
      1,
      /the folder .*none does not exist; create it first\.$/,
    );
    await writeFile(at("file"), "");
    await refused([...request, "--output", at("file/x.png")], 1, /is not a folder/);
    await mkdir(at("folder.webp"));
    await refused([...request, "--output", at("folder.webp")], 1, /is a folder/);
  });

  test("models that are damaged", async () => {
    const file = "text_encoder/model.safetensors";
    const bytes = await readFile(join(tinyWorld, file));
    const length = Number(bytes.readBigUInt64LE(0));
    const withHeader = (edit: (header: string) => string): Buffer => {
      const header = Buffer.from(edit(bytes.toString("utf8", 8, 8 + length)));
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([size, header, bytes.subarray(8 + length)]);
    };
    const lying = Buffer.from(bytes);
    lying.writeBigUInt64LE(1n << 40n);

    /** The bundled model with one file replaced. */
    const model = async (name: string, replaced: Buffer | null): Promise<string> => {
      const root = at(name);
      await mkdir(root);
      for (const entry of await readdir(tinyWorld))
        if (entry !== "text_encoder") await symlink(join(tinyWorld, entry), join(root, entry));
      await cp(join(tinyWorld, "text_encoder"), join(root, "text_encoder"), { recursive: true });
      if (replaced) await writeFile(join(root, file), replaced);
      else await rm(join(root, file));
      return root;
    };
    const key = "text_model.final_layer_norm.weight";
    for (const [name, replaced, message] of [
      ["without a file", null, /text_encoder/],
      ["cut off", bytes.subarray(0, bytes.length - 1000), /model\.safetensors/],
      ["a header that lies", lying, /model\.safetensors/],
      [
        "without a tensor",
        withHeader((h) => h.replace(key, key.replace("final", "fin"))),
        /final_?[lL]ayer_?[nN]orm/,
      ],
      [
        "a tensor of another shape",
        withHeader((h) =>
          h.replace(/("text_model\.final_layer_norm\.weight":\{[^}]*"shape":\[)(\d+)\]/, "$1$2,1]"),
        ),
        /final_?[lL]ayer_?[nN]orm/,
      ],
    ] as const)
      await refused([...request, "-m", await model(name, replaced)], 1, message);
    await refused([...request, "-m", at("nothing here")], 1, /nothing here/);
    await refused([...request, "-m", "nobody/nothing", "--offline"], 1, /nobody\/nothing/);
  });

  test("info of a picture without parameters", () => refused(["info", map], 1, /has no parameters inside/));
});

describe("a stream that nobody reads", () => {
  /** Runs with the reader's end of a stream closed after its first bytes. */
  async function unread(stream: "stdout" | "stderr", argv: readonly string[]): Promise<Outcome> {
    const child = spawn(process.execPath, [bin, ...argv], { cwd: folder });
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        if (name === stream) child[name].destroy();
        else said[name] += text;
      });
    const [code] = await once(child, "close");
    return { code, ...said };
  }

  test("of progress: the picture is made all the same", async () => {
    await mkdir(at("unread"));
    const output = at("unread/x.png");
    const { code, stdout } = await unread("stderr", [...request, "--output", output]);
    assert.deepEqual([code, stdout], [0, `${output}\n`]);
    assert.equal((await pixels(output)).length, 64 * 64 * 3);
  });

  test("of results: a quiet end, before what nobody would see is made", async () => {
    await mkdir(at("few"));
    // Far more than are made before a busy machine lets the reader's end be closed.
    const seeds = Array.from({ length: 200 }, (_, i) => `${i + 1}`);
    const { code, stderr } = await unread("stdout", [
      ...[...request, "--json", "--quiet", "--seed", ...seeds],
      ...["--output", at("few/{seed}.png")],
    ]);
    assert.deepEqual([code, stderr], [0, ""]);
    const made = await readdir(at("few"));
    assert.ok(made.includes("1.png") && !made.includes("200.png"), made.join());
  });

  test("on a full disk: one sentence", { skip: !existsSync("/dev/full") }, async () => {
    const full = openSync("/dev/full", "w");
    const child = spawn(process.execPath, [bin, "--version"], { stdio: ["ignore", full, "pipe"] });
    closeSync(full);
    let stderr = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    assert.deepEqual(await once(child, "close"), [1, null]);
    assert.match(stderr, /^Standard output cannot be written \(ENOSPC.*\)\.\n$/);
  });
});

describe("generate", () => {
  test("makes the picture that the library makes, with its parameters", async () => {
    await mkdir(at("same"));
    const argv = [...request, "--seed", "7", "--output", at("same/x.png"), "--metadata"];
    const first = await run(argv);
    assert.equal(first.code, 0, first.stderr);
    assert.equal(first.stdout, `${at("same/x.png")}\n`);
    for (const line of [/^denoising 1\/2: .* s, .* left$/m, /^denoising 2\/2/m, /^decoding the picture: /m])
      assert.match(first.stderr, line);

    using flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    const result = await flux.generate({
      prompt: "a gold portrait",
      depthImage: map,
      width: 64,
      height: 64,
      steps: 2,
      seed: 7,
    });
    assert.ok((await pixels(at("same/x.png"))).equals(result.image.data));

    const read = await run(["info", at("same/x.png"), "--json"]);
    const { file, parameters } = JSON.parse(read.stdout);
    assert.equal(file.format, "png");
    assert.deepEqual(parameters, JSON.parse(await readFile(at("same/x.metadata.json"), "utf8")));
    for (const [name, value] of Object.entries({
      seed: 7,
      steps: 2,
      quantize: null,
      prompt: "a gold portrait",
    }))
      assert.equal(parameters[name], value, name);
    assert.match((await run(["info", at("same/x.png")])).stdout, /^seed +7$/m);
    assert.match((await run(["info", at("same/x.metadata.json")])).stdout, /^prompt +a gold portrait$/m);

    // The same command again: the file stays, the new one has the same pixels.
    const again = await run([...argv, "--quiet"]);
    assert.deepEqual(again, { code: 0, stdout: `${at("same/x_1.png")}\n`, stderr: "" });
    assert.ok((await pixels(at("same/x_1.png"))).equals(await pixels(at("same/x.png"))));
    const replaced = await run([...request, "--seed", "8", "--output", at("same/x.png"), "--overwrite"]);
    assert.equal(replaced.stdout, `${at("same/x.png")}\n`);
    assert.ok(!(await pixels(at("same/x.png"))).equals(await pixels(at("same/x_1.png"))));
  });

  test("several seeds: one load, a name and a JSON object for each", async () => {
    await mkdir(at("several"));
    const { code, stdout, stderr } = await run(
      [
        ...small,
        "--depth-image",
        map,
        "--prompt-file",
        "-",
        "--seed",
        "3",
        "4",
        "--json",
        "-o",
        at("several/x.jpg"),
      ],
      { input: "\ufeff a silver portrait: 日本\n" },
    );
    assert.equal(code, 0, stderr);
    const objects = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      objects.map(({ path, seed, width, height }) => [basename(path), seed, width, height]),
      [
        ["x_seed_3.jpg", 3, 64, 64],
        ["x_seed_4.jpg", 4, 64, 64],
      ],
    );
    assert.equal(objects[0].parameters.prompt, "a silver portrait: 日本");
    assert.equal(stderr.match(/reading transformer/g)?.length, 1);
    assert.deepEqual((await readdir(at("several"))).toSorted(), ["x_seed_3.jpg", "x_seed_4.jpg"]);
  });

  test("the map that was used is written once, beside the first picture", async () => {
    await mkdir(at("maps"));
    const { code, stdout, stderr } = await run([
      ...request,
      ...["--seed", "3", "4", "--save-depth-map", "--json", "--output", at("maps/{seed}.webp")],
    ]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).depth_map_path),
      [at("maps/3_depth_map.png"), undefined],
    );
    assert.equal((await readdir(at("maps"))).length, 3);
    const [written, given] = [await readDepthMap(at("maps/3_depth_map.png")), await readDepthMap(map)];
    const { data } = resize(given, 64, 64, lanczos);
    for (const [i, v] of written.data.entries())
      assert.ok(Math.abs(v - Math.min(Math.max(data[i]!, 0), 255)) <= 0.5 / 257 + 1e-4, `${i}`);
  });

  test("random seeds are drawn and said", async () => {
    await mkdir(at("random"));
    const { code, stdout, stderr } = await run([
      ...request,
      "--width",
      "70",
      "--auto-seeds",
      "2",
      "--output",
      at("random/{seed}.webp"),
    ]);
    assert.equal(code, 0, stderr);
    const seeds = [...stderr.matchAll(/^Seed: (\d+)$/gm)].map(([, seed]) => seed);
    assert.equal(new Set(seeds).size, 2);
    assert.deepEqual(
      stdout.trim().split("\n"),
      seeds.map((seed) => at(`random/${seed}.webp`)),
    );
    assert.equal(stderr.match(/width 70 is not a multiple of 16: 64 is used/g)?.length, 1, "said once");
  });

  test("the reference's noise gives the reference's picture", async () => {
    const { pipeline } = JSON.parse(await readFile(join(golden, "index.json"), "utf8"));
    const { prompt, width, height, steps, guidance } = pipeline[0];
    const { code, stderr } = await run([
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

  test("Ctrl-C stops within a step, with 130 and no file", async () => {
    await mkdir(at("stopped"));
    const steps = (text: string): number => text.match(/^denoising \d+\/50/gm)?.length ?? 0;
    let done = 0;
    const { code, stdout, stderr } = await run(
      [...request, "--width", "512", "--height", "512", "--steps", "50", "--output", at("stopped/x.png")],
      {
        watch: (text, kill) => {
          if (done > 0 || steps(text) === 0) return;
          done = steps(text);
          kill("SIGINT");
        },
      },
    );
    assert.deepEqual([code, stdout], [130, ""], stderr);
    // The signal may come just as a step ends.
    assert.ok(steps(stderr) <= done + 1, stderr);
    assert.match(stderr, /\nStopping …\n$/);
    assert.deepEqual(await readdir(at("stopped")), []);
  });
});

test("Ctrl-C ends the wait for a prompt on standard input", async () => {
  const child = spawn(process.execPath, [bin, ...small, "--depth-image", map, "--prompt", "-"], {
    stdio: "pipe",
  });
  const ended = once(child, "close");
  // More than a pipe holds: what took it waits for more, as the pipe stays open.
  await new Promise((resolve) => child.stdin.write("a cube ".repeat(100_000), resolve));
  child.kill("SIGINT");
  assert.deepEqual(await ended, [130, null]);
});

describe("doctor", () => {
  test("says what is there", async () => {
    const { code, stdout } = await run(["doctor", "--json"], {
      env: { HF_HUB_CACHE: at("cache"), HF_TOKEN: "hf_secret" },
    });
    assert.equal(code, 0);
    const report = JSON.parse(stdout);
    assert.equal(report.node, process.versions.node);
    assert.match(report.mlx.version, /^\d+\.\d+/);
    assert.ok(report.mlx.blas.gflops > 0 && report.memory.totalBytes > 1e8);
    assert.equal(report.models.cache, at("cache"));
    assert.equal(report.models.found[0].folder, tinyWorld);
    assert.doesNotMatch(stdout, /hf_secret/);
    const { kernels } = report.mlx;
    assert.deepEqual(
      kernels,
      process.platform === "linux"
        ? {
            instructionSet: instructionSet(),
            int8: canMultiplyIntegers(),
            bfloat16Attention: canMultiplyBfloat16(),
          }
        : null,
    );
    const text = (await run(["doctor"], { env: { HF_HUB_CACHE: at("cache") } })).stdout;
    assert.ok(text.includes(report.mlx.library) && text.includes(at("cache")));
    assert.ok(
      !kernels || text.includes(`${kernels.instructionSet}; ${kernels.int8 ? "quantized" : "all in"}`),
    );
    for (const command of [
      "`mflux-depth download`",
      "`mflux-depth download --only-depth --depth-model apple/DepthPro-hf`",
    ])
      assert.ok(text.includes(command), text);
  });

  test("works, with exit code 1 and the fix, when libraries do not load", async () => {
    await writeFile(
      at("broken.cjs"),
      `const { _extensions } = require("node:module");
       const load = _extensions[".node"];
       _extensions[".node"] = (module, file) => {
         if (/mlx|sharp/.test(file)) throw new Error("wrong ELF class");
         return load(module, file);
       };`,
    );
    const env = { NODE_OPTIONS: `--require ${at("broken.cjs")}` };
    const { code, stdout, stderr } = await run(["doctor"], { env });
    assert.deepEqual([code, stderr], [1, ""]);
    assert.match(stdout, /^Broken: MLX does not work: [\s\S]*wrong ELF class[\s\S]*\n {2}Fix: npm rebuild/m);
    assert.match(stdout, /^Broken: sharp/m);
    const generate = await run([...request, "--output", at("broken.png")], { env });
    assert.equal(generate.code, 1);
    assert.match(generate.stderr, /addon cannot be loaded/);
    assert.doesNotMatch(generate.stderr, /\n\s+at /);
  });
});

describe("flags", () => {
  const table = { ...requestOptions, ...loadOptions };
  const values = (...argv: string[]) => parseFlags(table, argv).values;

  test("are read in every way of writing them", () => {
    assert.deepEqual(
      values("--steps", "3", "--guidance=2.5", "-q4", "-m", "x", "--seed", "1", "2", "--seed=3"),
      {
        steps: 3,
        guidance: 2.5,
        quantize: 4,
        model: "x",
        seed: [1, 2, 3],
      },
    );
    assert.deepEqual(values("--steps", "3", "--steps", "4"), { steps: 4 });
    assert.deepEqual(
      [["--int8"], ["--no-int8"], ["--int8=false"], ["--no-int8=false"], ["--int8", "--no-int8"]].map(
        (argv) => values(...argv).int8,
      ),
      [true, false, false, true, false],
    );
    assert.deepEqual(values("--prompt", "-"), { prompt: "-" });
    assert.deepEqual(values("--prompt=--steps"), { prompt: "--steps" });
    assert.deepEqual(parseFlags(table, ["a", "--steps", "3", "--", "--b"]).positionals, ["a", "--b"]);
  });

  test("win over the environment, which wins over defaults", () => {
    const env = { MFLUX_DEPTH_MODEL: "from-env" };
    assert.deepEqual(parseFlags(table, [], env).values, { model: "from-env" });
    assert.deepEqual(parseFlags(table, ["-m", "mine"], env).values, { model: "mine" });
    assert.throws(() => values("--constructor"), OptionError);
  });
});

describe("progress", () => {
  const shown = (terminal: boolean): string => {
    const stderr = Object.assign(new PassThrough(), { isTTY: terminal, columns: 60 });
    const progress = progressOn({
      stdin: new PassThrough(),
      stdout: new PassThrough(),
      stderr,
      env: {},
      signal: new AbortController().signal,
    });
    progress.stage("denoising");
    progress.status("reading transformer, 23.8 GB");
    progress.step(1, 4, 9);
    progress.step(2, 4, 2);
    progress.step(3, 4, 3);
    progress.note("a sentence");
    progress.finish();
    return (stderr.read() as Buffer).toString();
  };

  test("is lines where there is no terminal", () => {
    assert.match(
      shown(false),
      /^reading transformer, 23\.8 GB\ndenoising 1\/4: 9\.00 s, 27 s left\ndenoising 2\/4: 2\.00 s, 18 s left\ndenoising 3\/4: 3\.00 s, 3\.00 s left\na sentence\ndenoising: \d+\.\d\d s\n$/,
    );
  });

  test("is one redrawn line on a terminal, never wider than it", () => {
    const text = shown(true);
    assert.ok(text.includes("3/4  3.00 s a step  3.00 s left"));
    assert.match(text, /█+░+/);
    const screen = text.replaceAll("\x1b[2K", "").split(/[\r\n]/);
    for (const line of screen) assert.ok(line.length < 60, line);
    assert.equal(text.match(/\n/g)?.length, 2, "only the note and the stage's time stay");
  });

  test("tells durations", () => {
    assert.deepEqual([0.123, 9.5, 59.4, 61, 3700].map(duration), [
      "0.12 s",
      "9.50 s",
      "59 s",
      "1 min 1 s",
      "1 h 1 min",
    ]);
  });

  test("tells sizes in units in which they are not 0.0", () => {
    assert.deepEqual([23.8e9, 1e9, 7.17e6, 4321].map(describeBytes), [
      "23.8 GB",
      "1.0 GB",
      "7.2 MB",
      "4.3 kB",
    ]);
  });
});
