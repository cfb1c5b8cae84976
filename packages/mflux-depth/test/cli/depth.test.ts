import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import type { Io } from "../../src/cli/command.js";
import { main } from "../../src/cli/main.js";

const example = (name: string): string =>
  fileURLToPath(new URL(`../../../../../examples/images/${name}`, import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-cli-"));
const home = process.cwd();
after(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

/** A folder of its own, which is the current one, with copies of examples inside. */
function workplace(name: string, ...examples: string[]): string {
  const path = join(folder, name);
  mkdirSync(path);
  for (const one of examples) copyFileSync(example(one), join(path, one));
  process.chdir(path);
  return path;
}

async function run(
  argv: string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<{ code: number; out: string; err: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const io: Io = { stdin: Readable.from([]), stdout, stderr, env: {}, signal };
  const code = await main(["depth", ...argv], io);
  const text = (stream: PassThrough): string => stream.read()?.toString() ?? "";
  return { code, out: text(stdout), err: text(stderr) };
}

const tiny = ["--depth-model", "tiny-world"];

describe("mflux-depth depth", () => {
  test("writes a map of the photo's size into the current folder, and nothing beside the photo", async () => {
    const photos = workplace("photos", "room.png");
    const here = workplace("here");
    const first = await run([join(photos, "room.png"), ...tiny]);
    assert.equal(first.code, 0, first.err);
    assert.equal(first.out, "room_depth.png\n");
    assert.match(first.err, /room\.png: [\d.]+ s/);
    assert.deepEqual(readdirSync(photos), ["room.png"]);
    const { width, height, channels, depth } = await sharp(join(here, "room_depth.png")).metadata();
    assert.deepEqual([width, height, channels, depth], [256, 256, 1, "uchar"]);

    const again = await run([join(photos, "room.png"), ...tiny, "--quiet", "--invert"]);
    assert.equal(again.out, "room_depth_1.png\n");
    assert.equal(again.err, "");
    const pixels = async (file: string): Promise<Buffer> =>
      sharp(join(here, file)).extractChannel(0).raw().toBuffer();
    const [plain, inverted] = [await pixels("room_depth.png"), await pixels("room_depth_1.png")];
    assert.ok(plain.every((value, i) => Math.abs(value + inverted[i]! - 255) <= 1));
  });

  test("several photos and a folder go through one load; one that is none fails alone", async () => {
    const photos = workplace("several", "cube.png", "shapes.png", "cube_depth.png");
    writeFileSync(join(photos, "broken.jpg"), "no picture");
    writeFileSync(join(photos, "notes.txt"), "not looked at");
    workplace("several-here");
    const { code, out, err } = await run([
      photos,
      example("room.png"),
      ...tiny,
      "--output",
      "nowhere/maps",
      "--format",
      "npy",
    ]);
    assert.equal(code, 1);
    assert.match(err, /the folder nowhere does not exist/);
    assert.equal(out, "");
    assert.deepEqual(readdirSync("."), []);

    const failed = await run([join(photos, "broken.jpg"), ...tiny, "--output", "maps/"]);
    assert.equal(failed.code, 1);
    assert.deepEqual(readdirSync("."), [], "a folder is made by its first map");

    const done = await run([photos, example("room.png"), ...tiny, "--output", "maps", "--format", "npy"]);
    assert.equal(done.code, 1);
    assert.deepEqual(readdirSync("maps").sort(), ["cube_depth.npy", "room_depth.npy", "shapes_depth.npy"]);
    assert.equal(done.out.trim().split("\n").length, 3);
    assert.match(done.err, /broken\.jpg: is not an image/);
    assert.match(done.err, /1 of 4 photos failed/);
    assert.equal(done.err.match(/reading Depth Pro/g)?.length, 1);
    assert.equal(readFileSync("maps/room_depth.npy").toString("latin1", 1, 6), "NUMPY");
  });

  test("the output's extension is the format; 16 bits, colours and JSON", async () => {
    workplace("formats");
    const deep = await run([example("cube.png"), ...tiny, "-o", "deep.png", "--bits", "16", "--json"]);
    assert.equal(deep.code, 0, deep.err);
    const told = JSON.parse(deep.out);
    assert.equal(told.path, "deep.png");
    assert.equal(told.photo, example("cube.png"));
    assert.deepEqual([told.width, told.height, told.focal_length], [256, 256, null]);
    assert.ok(told.range.max > told.range.min && told.seconds > 0);
    assert.equal((await sharp("deep.png").metadata()).depth, "ushort");

    const coloured = await run([
      example("cube.png"),
      ...tiny,
      "-o",
      "looks.webp",
      "--color",
      "--near",
      "95",
      "--far",
      "5",
    ]);
    assert.equal(coloured.code, 0, coloured.err);
    const { data, info } = await sharp("looks.webp").raw().toBuffer({ resolveWithObject: true });
    assert.equal(info.channels, 3);
    assert.ok(
      data.some((value, i) => i % 3 === 0 && Math.abs(value - data[i + 1]!) > 60),
      "there are colours",
    );
  });

  test("--overwrite replaces, but not a map of the same run", async () => {
    const photos = workplace("twins", "cube.png");
    const here = workplace("twins-here");
    writeFileSync("cube_depth.png", "old");
    const { code, out } = await run([join(photos, "cube.png"), example("cube.png"), ...tiny, "--overwrite"]);
    assert.equal(code, 0);
    assert.equal(out, "cube_depth.png\ncube_depth_1.png\n");
    assert.deepEqual(readdirSync(here), ["cube_depth.png", "cube_depth_1.png"]);
    assert.ok(readFileSync("cube_depth.png").length > 100);
  });

  test("Ctrl-C ends it with 130 and leaves no file", async () => {
    const here = workplace("cancelled");
    const controller = new AbortController();
    const running = run([example("cube.png"), ...tiny], controller.signal);
    setTimeout(() => controller.abort(new Error("stopped")), 150);
    assert.equal((await running).code, 130);
    assert.deepEqual(readdirSync(here), []);
  });

  const refused: [string, string[], number, RegExp][] = [
    ["no photo", [], 2, /Name a photo/],
    ["a photo that is not there", ["none.jpg", ...tiny], 1, /none\.jpg: there is no such file/],
    [
      "one file for two photos",
      [example("cube.png"), example("room.png"), "-o", "one.png", ...tiny],
      2,
      /one file, but.*2 photos/,
    ],
    ["an unknown extension", [example("cube.png"), "-o", "depth.exr", ...tiny], 2, /must end in/],
    [
      "a format against the name",
      [example("cube.png"), "-o", "a.png", "--format", "npy", ...tiny],
      2,
      /format is npy/,
    ],
    [
      "percentiles in disorder",
      [example("cube.png"), "--near", "10", "--far", "20", ...tiny],
      2,
      /near \(10\).*far \(20\)/,
    ],
    ["a percentile beyond", [example("cube.png"), "--near", "120", ...tiny], 2, /--near must be/],
    ["16 bits in JPEG", [example("cube.png"), "--format", "jpeg", "--bits", "16", ...tiny], 2, /16 bits/],
    ["metres without a focal length", [example("cube.png"), "--metres", ...tiny], 1, /metres are not known/],
    [
      "a FLUX model",
      [example("cube.png"), "--depth-model", join(home, "no-such-model")],
      1,
      /there is no such folder/,
    ],
    ["an unknown flag", [example("cube.png"), "--inverted"], 2, /--inverted.*--invert/],
  ];
  for (const [what, argv, code, message] of refused)
    test(`refuses ${what}`, async () => {
      const result = await run(argv);
      assert.match(result.err, message);
      assert.equal(result.code, code);
      assert.equal(result.out, "");
    });

  const linux = { skip: process.platform !== "linux", timeout: 120_000 };
  test("a place that takes no folders is an error", linux, async () => {
    const { code, out, err } = await run([example("cube.png"), ...tiny, "--output", "/proc/none/"]);
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, /^\/proc\/none\/: .*\/proc.*$/m);
  });

  test("an empty folder is an error", async () => {
    const here = workplace("empty");
    const result = await run([here, ...tiny]);
    assert.equal(result.code, 1);
    assert.match(result.err, /no pictures in this folder/);
    assert.ok(existsSync(here));
  });

  test("--help says it all and exits 0", async () => {
    const { code, out } = await run(["--help"]);
    assert.equal(code, 0);
    for (const flag of [
      "--output",
      "--format",
      "--bits",
      "--invert",
      "--near",
      "--far",
      "--gamma",
      "--colour",
      "--color",
      "--depth-model",
      "--metres",
      "--json",
    ])
      assert.ok(out.includes(flag), flag);
    assert.ok(out.split("\n").every((line) => line.length <= 120));
  });
});
