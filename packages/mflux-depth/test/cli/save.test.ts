import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { bin, CommandLine, map, type Outcome } from "../support/command-line.js";

const { at, call, run } = new CommandLine();

/** Saves the bundled model into `folder`. */
const saveInto = (folder: string): string[] => ["save", "-m", "tiny-world", "-q", "4", "--path", folder];

describe("save", () => {
  let saved: Outcome;
  before(async () => {
    saved = await run(saveInto("model"));
    assert.equal(saved.code, 0, saved.stderr);
  });

  test("prints the folder on standard output", () => {
    assert.equal(saved.stdout, "model\n");
  });

  test("prints progress on standard error", () => {
    assert.match(saved.stderr, /writing, 7\.2 MB of 7\.2 MB\nvae: /);
  });

  test("leaves nothing next to the folder", () => {
    assert.deepEqual(readdirSync(at(".")), ["model"]);
  });

  test("makes a model that generates, with the bits it was saved with", async () => {
    const size = ["--width", "64", "--height", "64", "--steps", "1", "--seed", "1"];
    const request = ["--prompt", "a cone", "--depth-image-path", map, ...size, "-q", "8", "--json"];
    const { code, stdout, stderr } = await call(["generate", "-m", "model", ...request, "-o", at("x.png")]);
    assert.equal(code, 0, stderr);
    const { parameters, warnings } = JSON.parse(stdout);
    assert.equal(parameters.quantize, 4);
    const warning = "quantize 8 has no effect: the weights are stored with 4 bits.";
    assert.deepEqual(warnings, [warning]);
    assert.ok(stderr.includes(warning));
  });

  test("refuses --bake-lora without a LoRA", async () => {
    const { code, stderr } = await run([
      ...["save", "--model", "tiny-world", "--path", at("nothing-baked"), "--bake-lora"],
    ]);
    assert.equal(code, 2);
    assert.match(stderr, /--bake-lora .* give one with --lora\./);
  });

  test("refuses a folder that is not empty", async () => {
    const { code, stdout, stderr } = await call(saveInto("model"));
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /model: this folder is not empty; choose a new one\.\n$/);
  });

  test("prints a JSON object with --json, and only notes with --quiet", async () => {
    const copy = ["save", "-m", "model", "-q", "3", "--path", at("copy"), "--json", "--quiet"];
    const { stdout, stderr } = await call(copy);
    const { path, quantize, notes } = JSON.parse(stdout);
    assert.deepEqual([path, quantize, notes.length], [at("copy"), 4, 1]);
    assert.equal(stderr, `${notes[0]}\n`);
  });
});

describe("save exits with 2 for", () => {
  const cases: [string, string[], RegExp][] = [
    ["no folder", ["save", "-m", "tiny-world"], /^Specify the folder to create/],
    [
      "bits that do not exist",
      ["save", "-m", "tiny-world", "-q", "7", "--path", "x"],
      /one of 3, 4, 5, 6, 8, none/,
    ],
    ["an argument without a flag", ["save", "tiny-world", "--path", "x"], /is not a flag/],
    ["a misspelt flag", ["save", "--pat", "x"], /did you mean --path/],
    [
      "an option that save does not have",
      ["save", "--steps", "3", "--path", "x"],
      /There is no flag --steps/,
    ],
  ];
  for (const [what, argv, message] of cases)
    test(what, async () => {
      const { code, stdout, stderr } = await call(argv);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, message);
      assert.ok(!existsSync(at("x")));
    });
});

test("save on a full disk is one sentence, and leaves nothing", { skip: !existsSync("/bin/bash") }, () => {
  const here = at("full");
  mkdirSync(here);
  // Files may not grow longer than this; to the program that is a full disk.
  const command = `ulimit -f 2000; exec "$0" "$@"`;
  const argv = ["-c", command, process.execPath, bin, ...saveInto("model"), "--quiet"];
  const { status, stdout, stderr } = spawnSync("/bin/bash", argv, { cwd: here, encoding: "utf8" });
  assert.deepEqual([status, stdout], [1, ""], stderr);
  assert.match(stderr, /^\S*model: .*disk.*\(EFBIG\).*\.\n$/);
  assert.deepEqual(readdirSync(here), []);
});

test("Ctrl-C stops save with 130 and leaves nothing", async () => {
  const here = at("stopped");
  mkdirSync(here);
  let [stderr, code]: [string, number | null] = ["", 0];
  // On a busy machine the signal may come too late.
  for (let attempt = 0; code === 0 && attempt < 5; attempt++) {
    stderr = "";
    rmSync(join(here, "model"), { recursive: true, force: true });
    const child = spawn(process.execPath, [bin, ...saveInto("model")], { cwd: here });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (!stderr.includes("writing") && text.includes("writing")) child.kill("SIGINT");
      stderr += text;
    });
    code = await new Promise((resolve) => child.on("close", resolve));
  }
  assert.equal(code, 130, stderr);
  assert.match(stderr, /Stopping …/);
  assert.deepEqual(readdirSync(here), []);
});
