import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import { CommandLine, smallRequest } from "../support/command-line.js";

const { at, call, run } = new CommandLine();

describe("generate --best-of", () => {
  test("writes the most faithful image, with its score in the parameters", async () => {
    const { code, stdout, stderr } = await run([
      ...smallRequest,
      ...["--best-of", "2", "--seed", "3", "--output", at("best.png"), "--json"],
    ]);
    assert.equal(code, 0);
    const { path, seed, parameters } = JSON.parse(stdout);
    assert.deepEqual([path, existsSync(path)], [at("best.png"), true]);
    assert.ok([3, 4].includes(seed));
    assert.deepEqual([parameters.fidelity.rank, parameters.fidelity.candidates], [1, 2]);
    assert.equal(stderr.match(/Seed \d: RMSE [\d.]+ of 255, correlation/g)!.length, 2);
    const info = JSON.parse((await call(["info", path, "--json"])).stdout);
    assert.deepEqual(info.parameters.fidelity, parameters.fidelity);
  });

  test("writes all images with --keep all, the best first", async () => {
    const { stdout } = await call([
      ...smallRequest,
      ...["--best-of", "2", "--seed", "3", "--keep", "all", "--output", at("all.png"), "--json"],
    ]);
    const written = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      written.map(({ parameters }) => parameters.fidelity.rank),
      [1, 2],
    );
    assert.deepEqual(written.map(({ path }) => path).toSorted(), [
      at("all_seed_3.png"),
      at("all_seed_4.png"),
    ]);
  });

  const refused: [string, string[], RegExp][] = [
    ["--keep without it", ["--keep", "all"], /--best-of/],
    ["--judge without it", ["--judge", "tiny-world"], /--best-of/],
    ["several seeds", ["--best-of", "2", "--seed", "1", "2"], /one --seed/],
    ["random seeds", ["--best-of", "2", "--auto-seeds", "2"], /chooses its seeds/],
    ["a single image", ["--best-of", "1"], /from 2 to 100/],
  ];
  for (const [what, flags, message] of refused)
    test(`refuses ${what}`, async () => {
      const { code, stderr } = await call([...smallRequest, ...flags, "--output", at("refused.png")]);
      assert.equal(code, 2);
      assert.match(stderr, message);
    });
});
