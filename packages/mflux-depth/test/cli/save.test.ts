import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const bin = fileURLToPath(new URL("../../../bin/mflux-depth.js", import.meta.url));
const map = fileURLToPath(new URL("../../../../../examples/images/portrait_depth.png", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-save-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A folder of its own to run in. */
function workplace(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

const run = (cwd: string, ...argv: string[]): { code: number | null; out: string; err: string } => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...argv], { cwd, encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
};
const tiny = ["save", "-m", "tiny-world", "-q", "4", "--path", "model"];

describe("mflux-depth save", () => {
  test("prints the folder, tells how far it is, and what it made generates", () => {
    const here = workplace("done");
    const { code, out, err } = run(here, ...tiny);
    assert.deepEqual([code, out], [0, "model\n"], err);
    assert.match(err, /writing, 7\.2 MB of 7\.2 MB\nvae: /);
    assert.deepEqual(readdirSync(here), ["model"]);
    const size = ["--width", "64", "--height", "64", "--steps", "1", "--seed", "1"];
    const request = ["--prompt", "a cone", "--depth-image-path", map, ...size, "-q", "8", "--json"];
    const picture = run(here, "generate", "-m", "model", ...request);
    assert.equal(picture.code, 0, picture.err);
    const { parameters, warnings } = JSON.parse(picture.out) as Record<string, unknown>;
    assert.equal((parameters as Record<string, unknown>).quantize, 4);
    assert.deepEqual(warnings, ["quantize is 8, without effect: the weights are stored with 4 bits."]);
    assert.match(picture.err, /quantize is 8, without effect/);

    const again = run(here, ...tiny);
    assert.deepEqual([again.code, again.out], [1, ""]);
    assert.match(again.err, /model: this folder is not empty; name a new one\.\n$/);

    const json = run(here, "save", "-m", "model", "-q", "3", "--path", "copy", "--json", "--quiet");
    const { path, quantize, notes } = JSON.parse(json.out) as Record<string, unknown>;
    assert.deepEqual([path, quantize, (notes as string[]).length], ["copy", 4, 1]);
    assert.equal(json.err, "quantize is 3, without effect: the weights are stored with 4 bits.\n");
  });

  test("wrong usage exits with 2", () => {
    const here = workplace("usage");
    for (const [argv, message] of [
      [["save", "-m", "tiny-world"], /Say which folder to make/],
      [["save", "-m", "tiny-world", "-q", "7", "--path", "x"], /one of 3, 4, 5, 6, 8, none/],
      [["save", "tiny-world", "--path", "x"], /is not a flag/],
      [["save", "--pat", "x"], /did you mean --path/],
    ] as const) {
      const { code, out, err } = run(here, ...argv);
      assert.deepEqual([code, out], [2, ""], err);
      assert.match(err, message);
    }
    assert.deepEqual(readdirSync(here), []);
  });

  test("a full disk is one sentence, and leaves nothing", { skip: !existsSync("/bin/bash") }, () => {
    const here = workplace("full");
    // No file may become longer than this, which to a program is a disk without room.
    const command = `ulimit -f 2000; exec "$0" "$@"`;
    const { status, stdout, stderr } = spawnSync(
      "/bin/bash",
      ["-c", command, process.execPath, bin, ...tiny, "--quiet"],
      { cwd: here, encoding: "utf8" },
    );
    assert.deepEqual([status, stdout], [1, ""], stderr);
    assert.match(
      stderr,
      /^\S*model: there is no more room for it on the disk \(EFBIG\); nothing of it was left\.\n$/,
    );
    assert.deepEqual(readdirSync(here), []);
  });

  test("Ctrl-C exits with 130 and leaves nothing", async () => {
    const here = workplace("stopped");
    let [err, code]: [string, number | null] = ["", 0];
    // On a busy machine the signal may come too late.
    for (let attempt = 0; code === 0 && attempt < 5; attempt++) {
      err = "";
      rmSync(join(here, "model"), { recursive: true, force: true });
      const child = spawn(process.execPath, [bin, ...tiny], { cwd: here });
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        if (!err.includes("writing") && text.includes("writing")) child.kill("SIGINT");
        err += text;
      });
      code = await new Promise((resolve) => child.on("close", resolve));
    }
    assert.equal(code, 130, err);
    assert.match(err, /Stopping …/);
    assert.deepEqual(readdirSync(here), []);
  });
});
