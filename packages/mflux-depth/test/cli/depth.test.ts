import assert from "node:assert/strict";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import sharp from "sharp";
import { type CallOptions, call, type Outcome } from "../support/command-line.js";
import { at } from "../support/tensors.js";

const example = (name: string): string => at(`../../examples/images/${name}`);

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-cli-"));
const home = process.cwd();
after(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

/** Makes a folder, with copies of examples inside, the current one. */
function enter(name: string, ...examples: string[]): string {
  const path = join(folder, name);
  mkdirSync(path);
  for (const one of examples) copyFileSync(example(one), join(path, one));
  process.chdir(path);
  return path;
}

const run = (argv: readonly string[], options?: CallOptions): Promise<Outcome> =>
  call(["depth", ...argv], options);

const tiny = ["--depth-model", "tiny-world"];

describe("the estimator", () => {
  test("is the one that MFLUX_DEPTH_DEPTH_MODEL names, unless a flag does", async () => {
    enter("estimators", "cube.png");
    const env = { MFLUX_DEPTH_DEPTH_MODEL: at("test/golden/depth_anything") };
    for (const [name, flags] of [
      ["anything.npy", []],
      ["pro.npy", tiny],
    ] as const)
      assert.equal((await run(["cube.png", "-o", name, ...flags], { env })).code, 0);
    assert.notDeepEqual(readFileSync("anything.npy"), readFileSync("pro.npy"));
    assert.equal((await run(["cube.png", "-o", "tiny.npy", ...tiny])).code, 0);
    assert.deepEqual(readFileSync("tiny.npy"), readFileSync("pro.npy"));
  });

  test("may be the bundled Depth Anything", async () => {
    enter("bundled", "cube.png");
    const { code, stdout } = await run(["cube.png", "--depth-model", "tiny-depth-anything"]);
    assert.deepEqual([code, stdout], [0, "cube_depth.png\n"]);
    const { width, height } = await sharp("cube_depth.png").metadata();
    assert.deepEqual([width, height], [256, 256]);
  });
});

describe("depth of one photo", () => {
  let photos: string;
  let here: string;
  let first: Outcome;
  before(async () => {
    photos = enter("photos", "room.png");
    here = enter("here");
    first = await run([join(photos, "room.png"), ...tiny]);
  });

  test("writes a map of the photo's size into the current folder", async () => {
    assert.deepEqual([first.code, first.stdout], [0, "room_depth.png\n"], first.stderr);
    const { width, height, channels, depth } = await sharp(join(here, "room_depth.png")).metadata();
    assert.deepEqual([width, height, channels, depth], [256, 256, 1, "uchar"]);
  });

  test("prints the time on standard error", () => {
    assert.match(first.stderr, /room\.png: [\d.]+ s/);
  });

  test("writes nothing to the photo's folder", () => {
    assert.deepEqual(readdirSync(photos), ["room.png"]);
  });

  test("keeps an existing map, and inverts the next one with --invert", async () => {
    const again = await run([join(photos, "room.png"), ...tiny, "--quiet", "--invert"]);
    assert.deepEqual(again, { code: 0, stdout: "room_depth_1.png\n", stderr: "" });
    const pixels = async (file: string): Promise<Buffer> =>
      sharp(join(here, file)).extractChannel(0).raw().toBuffer();
    const [plain, inverted] = [await pixels("room_depth.png"), await pixels("room_depth_1.png")];
    assert.ok(plain.every((value, i) => Math.abs(value + inverted[i]! - 255) <= 1));
  });
});

describe("depth of several photos", () => {
  let photos: string;
  before(() => {
    photos = enter("several", "cube.png", "shapes.png", "cube_depth.png");
    writeFileSync(join(photos, "broken.jpg"), "not an image");
    writeFileSync(join(photos, "notes.txt"), "not looked at");
    enter("several-here");
  });

  test("does nothing when the output's parent folder does not exist", async () => {
    const place = ["--output", "nowhere/maps", "--format", "npy"];
    const { code, stdout, stderr } = await run([photos, example("room.png"), ...tiny, ...place]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /the folder nowhere does not exist/);
    assert.deepEqual(readdirSync("."), []);
  });

  test("does nothing when a file is in the folder's place", async () => {
    const taken = join(photos, "notes.txt");
    const { code, stdout, stderr } = await run([example("room.png"), ...tiny, "--output", `${taken}/`]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /notes\.txt: a file of this name exists; choose a new folder/);
  });

  for (const [where, output] of [
    ["an existing folder", "."],
    ["a new folder", "maps/"],
  ] as const)
    test(`does nothing when the name of a map in ${where} would be too long`, async () => {
      const photo = join(photos, `${"n".repeat(246)}.png`);
      copyFileSync(example("room.png"), photo);
      const { code, stdout, stderr } = await run([example("room.png"), photo, ...tiny, "--output", output]);
      rmSync(photo);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /the name is too long/);
      assert.deepEqual(readdirSync("."), []);
    });

  test("makes no folder when no photo can be read", async () => {
    const { code } = await run([join(photos, "broken.jpg"), ...tiny, "--output", "maps/"]);
    assert.equal(code, 1);
    assert.deepEqual(readdirSync("."), []);
  });

  describe("into a folder", () => {
    let done: Outcome;
    before(async () => {
      done = await run([photos, example("room.png"), ...tiny, "--output", "maps", "--format", "npy"]);
    });

    test("writes a map for each, but not for earlier maps", () => {
      assert.deepEqual(readdirSync("maps").sort(), ["cube_depth.npy", "room_depth.npy", "shapes_depth.npy"]);
      assert.equal(done.stdout.trim().split("\n").length, 3);
    });

    test("continues after an unreadable photo, and exits with 1", () => {
      assert.equal(done.code, 1);
      assert.match(done.stderr, /broken\.jpg: /);
      assert.match(done.stderr, /1 of 4 photos failed/);
    });

    test("loads the model once", () => {
      assert.equal(done.stderr.match(/reading Depth Pro/g)?.length, 1);
    });

    test("writes arrays of NumPy with --format npy", () => {
      assert.equal(readFileSync("maps/room_depth.npy").toString("latin1", 1, 6), "NUMPY");
    });
  });
});

describe("depth's output", () => {
  before(() => void enter("formats"));

  test("has 16 bits with --bits 16", async () => {
    const { code, stderr } = await run([example("cube.png"), ...tiny, "-o", "deep.png", "--bits", "16"]);
    assert.equal(code, 0, stderr);
    assert.equal((await sharp("deep.png").metadata()).depth, "ushort");
  });

  test("is described as JSON with --json", async () => {
    const { code, stdout, stderr } = await run([example("cube.png"), ...tiny, "-o", "told.png", "--json"]);
    assert.equal(code, 0, stderr);
    const told = JSON.parse(stdout);
    assert.deepEqual(
      [told.path, told.photo, told.width, told.height, told.focal_length],
      ["told.png", example("cube.png"), 256, 256, null],
    );
    assert.ok(told.range.max > told.range.min && told.seconds > 0);
  });

  test("has the format of its extension, and colours with --color", async () => {
    const range = ["--near", "95", "--far", "5"];
    const { code, stderr } = await run([
      example("cube.png"),
      ...tiny,
      "-o",
      "looks.webp",
      "--color",
      ...range,
    ]);
    assert.equal(code, 0, stderr);
    const { data, info } = await sharp("looks.webp").raw().toBuffer({ resolveWithObject: true });
    assert.equal(info.channels, 3);
    assert.ok(data.some((value, i) => i % 3 === 0 && Math.abs(value - data[i + 1]!) > 60));
  });

  test("replaces a file with --overwrite, but not a map of the same run", async () => {
    const photos = enter("twins", "cube.png");
    const here = enter("twins-here");
    writeFileSync("cube_depth.png", "old");
    const { code, stdout } = await run([
      join(photos, "cube.png"),
      example("cube.png"),
      ...tiny,
      "--overwrite",
    ]);
    assert.deepEqual([code, stdout], [0, "cube_depth.png\ncube_depth_1.png\n"]);
    assert.deepEqual(readdirSync(here), ["cube_depth.png", "cube_depth_1.png"]);
    assert.ok(readFileSync("cube_depth.png").length > 100);
  });
});

test("Ctrl-C stops depth with 130 and leaves no file", async () => {
  const here = enter("cancelled");
  const controller = new AbortController();
  const running = run([example("cube.png"), ...tiny], { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("stopped")), 150);
  assert.equal((await running).code, 130);
  assert.deepEqual(readdirSync(here), []);
});

describe("depth refuses", () => {
  before(() => void enter("refused"));
  const cube = example("cube.png");
  const cases: [string, string[], number, RegExp][] = [
    ["no photo", [], 2, /^Specify a photo/],
    ["a photo that is not there", ["none.jpg", ...tiny], 1, /none\.jpg: there is no such file/],
    ["an empty folder", [".", ...tiny], 1, /no images in this folder/],
    [
      "one file for two photos",
      [cube, example("room.png"), "-o", "one.png", ...tiny],
      2,
      /one file, but.*2 photos/,
    ],
    [
      "percentiles in the wrong order",
      [cube, "--near", "10", "--far", "20", ...tiny],
      2,
      /^--near \(10\) must be above --far/,
    ],
    ["an unknown extension", [cube, "-o", "depth.exr", ...tiny], 2, /^--output must end in/],
    [
      "a format that contradicts the name",
      [cube, "-o", "a.png", "--format", "npy", ...tiny],
      2,
      /format is npy/,
    ],
    ["a percentile above 100", [cube, "--near", "120", ...tiny], 2, /--near must be/],
    ["16 bits in JPEG", [cube, "--format", "jpeg", "--bits", "16", ...tiny], 2, /16 bits/],
    ["metres without a focal length", [cube, "--metres", ...tiny], 1, /metres are unavailable/],
    [
      "a model that is not there",
      [cube, "--depth-model", join(home, "no-such-model")],
      1,
      /there is no such folder/,
    ],
    ["an unknown flag", [cube, "--inverted"], 2, /--inverted.*--invert/],
  ];
  for (const [what, argv, code, message] of cases)
    test(what, async () => {
      const result = await run(argv);
      assert.match(result.stderr, message);
      assert.deepEqual([result.code, result.stdout], [code, ""]);
      assert.deepEqual(readdirSync("."), []);
    });

  const linux = { skip: process.platform !== "linux", timeout: 120_000 };
  test("a place that takes no folders", linux, async () => {
    const { code, stdout, stderr } = await run([cube, ...tiny, "--output", "/proc/none/"]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^\/proc\/none: .*\/proc.*$/m);
  });
});
