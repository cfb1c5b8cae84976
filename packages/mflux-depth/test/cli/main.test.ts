import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { bin, CommandLine, type Outcome, pixels, smallRequest } from "../support/command-line.js";

const { at, call, folder, run } = new CommandLine();

const commands = [
  "generate",
  "depth",
  "score",
  "download",
  "save",
  "info",
  "inspect",
  "worker",
  "serve",
  "plan",
  "doctor",
];

describe("the command line's help", () => {
  test("lists every command on standard output", async () => {
    const { code, stdout } = await call(["--help"]);
    assert.equal(code, 0);
    assert.deepEqual(
      [...stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(([, name]) => name),
      commands,
    );
  });

  test("is the same for the command help", async () => {
    assert.deepEqual(await call(["help"]), await call(["--help"]));
  });

  for (const name of commands)
    test(`explains ${name} in lines that fit a terminal`, async () => {
      const { code, stdout, stderr } = await call([name, "--help"]);
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`^Usage: mflux-depth ${name}`));
      for (const line of stdout.split("\n")) assert.ok(line.length <= 120, line);
    });

  test("loads neither MLX nor the image codec", async () => {
    const program = at("libraries.mjs");
    await writeFile(
      program,
      `process.argv.splice(2, Infinity, "generate", "--help");
       await import(${JSON.stringify(bin)});
       console.error(process.report.getReport().sharedObjects.filter((name) => /mlx\\.|vips|sharp/.test(name)).join());`,
    );
    const { stdout, stderr } = await run([], { program });
    assert.match(stdout, /^Usage/);
    assert.equal(stderr.trim(), "");
  });

  test("goes to standard error without arguments, as wrong usage", async () => {
    const { code, stdout, stderr } = await run([]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /Usage: mflux-depth COMMAND/);
  });

  test("is one line with the fix before the build", async () => {
    await mkdir(at("fresh/bin"), { recursive: true });
    await copyFile(bin, at("fresh/bin/mflux-depth.mjs"));
    const { code, stderr } = await run([], { program: at("fresh/bin/mflux-depth.mjs") });
    assert.equal(code, 1);
    assert.match(stderr, /^mflux-depth is not built: run `npm ci`.*\n$/);
  });
});

describe("the command line", () => {
  test("prints its version", async () => {
    assert.match((await run(["--version"])).stdout, /^\d+\.\d+\.\d+\n$/);
  });

  test("suggests the nearest command for an unknown one", async () => {
    assert.deepEqual(await run(["genrate"]), {
      code: 2,
      stdout: "",
      stderr: "There is no command genrate; did you mean generate?\n",
    });
  });

  test("lists the commands for an unknown one like none", async () => {
    const { code, stderr } = await call(["xxxxxxxxx"]);
    assert.equal(code, 2);
    assert.match(stderr, /^There is no command xxxxxxxxx; the commands are generate, depth, .*doctor\.\n$/);
  });

  test("names the variable of a bad value in the environment", async () => {
    const { code, stderr } = await run(smallRequest, { env: { MFLUX_DEPTH_DEVICE: "tpu" } });
    assert.deepEqual([code, stderr], [2, 'MFLUX_DEPTH_DEVICE must be one of gpu, cpu, not "tpu".\n']);
  });

  test("adds what to do, in flags, to an error that knows it", async () => {
    const argv = [...smallRequest, "--width", "512", "--height", "512"];
    const { code, stderr } = await run(argv, { env: { MFLUX_DEPTH_MEMORY_GB: "0.2" } });
    assert.equal(code, 1);
    assert.match(stderr, /is available \(MFLUX_DEPTH_MEMORY_GB\)\. .* Use --force to try anyway\.\n$/);
  });
});

describe("MFLUX_DEPTH_DEBUG", () => {
  for (const [value, expected] of [
    ["1", true],
    ["0", false],
    ["off", false],
    ["", false],
  ] as const)
    test(`${JSON.stringify(value)} ${expected ? "shows" : "hides"} where an error arose`, async () => {
      const { stderr } = await call(["none"], { env: { MFLUX_DEPTH_DEBUG: value } });
      assert.equal(/\n\s+at /.test(stderr), expected, stderr);
    });
});

describe("a token", () => {
  // Nothing listens on that port: a request would fail only later.
  const env = { HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: at("home") };

  test("that cannot be one is named as the cause, and not shown", async () => {
    const { code, stdout, stderr } = await run(["download", "-m", "a/b"], {
      env: { ...env, HF_TOKEN: "hf_secret secret" },
    });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^HF_TOKEN: the token for the Hub contains a space/);
    assert.doesNotMatch(stderr, /secret/);
  });
});

test("an error about a name with control characters shows them as escapes", async () => {
  const { stderr } = await call([...smallRequest, "-m", "evil\u001b[2J\u009b1m"]);
  assert.ok(stderr.startsWith("evil\\u001b[2J\\u009b1m: "), JSON.stringify(stderr));
});

describe("a stream without a reader", () => {
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

  test("of progress does not stop the generation", async () => {
    await mkdir(at("unread"));
    const output = at("unread/x.png");
    const { code, stdout } = await unread("stderr", [...smallRequest, "--output", output]);
    assert.deepEqual([code, stdout], [0, `${output}\n`]);
    assert.equal((await pixels(output)).length, 64 * 64 * 3);
  });

  test("of results ends the command quietly and early", async () => {
    await mkdir(at("few"));
    // Far more than are made before a busy machine lets the reader's end be closed.
    const seeds = Array.from({ length: 200 }, (_, i) => `${i + 1}`);
    const { code, stderr } = await unread("stdout", [
      ...[...smallRequest, "--json", "--quiet", "--seed", ...seeds],
      ...["--output", at("few/{seed}.png")],
    ]);
    assert.deepEqual([code, stderr], [0, ""]);
    const made = await readdir(at("few"));
    assert.ok(made.includes("1.png") && !made.includes("200.png"), made.join());
  });

  test("on a full disk is one sentence", { skip: !existsSync("/dev/full") }, async () => {
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
