import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { CommandLine, map, smallRequest } from "../support/command-line.js";
import { makePipe, withoutPipes } from "../support/pipes.js";

const { at, call, run } = new CommandLine();

describe("info", () => {
  before(async () => {
    const { code, stderr } = await run([
      ...smallRequest,
      "--seed",
      "7",
      "--output",
      at("x.png"),
      "--metadata",
    ]);
    assert.equal(code, 0, stderr);
  });

  test("prints the parameters inside an image as JSON", async () => {
    const { file, parameters } = JSON.parse((await run(["info", at("x.png"), "--json"])).stdout);
    assert.equal(file.format, "png");
    for (const [name, value] of Object.entries({
      seed: 7,
      steps: 2,
      quantize: null,
      prompt: "a gold portrait",
    }))
      assert.equal(parameters[name], value, name);
    assert.deepEqual(parameters, JSON.parse(readFileSync(at("x.metadata.json"), "utf8")));
  });

  test("prints one parameter per line for people", async () => {
    assert.match((await call(["info", at("x.png")])).stdout, /^seed +7$/m);
  });

  test("reads the parameters written next to an image", async () => {
    assert.match((await call(["info", at("x.metadata.json")])).stdout, /^prompt +a gold portrait$/m);
  });

  test("reads them if the image itself has none", async () => {
    copyFileSync(map, at("bare.png"));
    copyFileSync(at("x.metadata.json"), at("bare.metadata.json"));
    const { file, parameters } = JSON.parse((await call(["info", at("bare.png"), "--json"])).stdout);
    assert.deepEqual([file.path, file.format, parameters.seed], [at("bare.png"), "png", 7]);
  });

  test("refuses an image without parameters", async () => {
    const { code, stderr } = await call(["info", map]);
    assert.equal(code, 1);
    assert.match(stderr, /contains no parameters/);
  });

  test("refuses a JSON file that holds no object", async () => {
    writeFileSync(at("list.json"), "[1, 2]");
    const { code, stderr } = await call(["info", at("list.json")]);
    assert.equal(code, 1);
    assert.match(stderr, /is not a JSON object/);
  });

  for (const name of ["pipe.png", "pipe.json"])
    test(`refuses ${name}, a pipe, without waiting for a writer`, {
      skip: withoutPipes,
      timeout: 10_000,
    }, async () => {
      makePipe(at(name));
      const { code, stderr } = await run(["info", at(name)]);
      assert.equal(code, 1);
      assert.match(stderr, /is a pipe, a device or a socket/);
    });

  describe("of a file with control characters", () => {
    const hostile = { "na\u001bme": 1, prompt: "a\u001b]0;title\u0007\n\u009b31mred", list: ["\u001b[2J"] };
    before(() => writeFileSync(at("hostile.json"), JSON.stringify(hostile)));

    test("shows them as escapes", async () => {
      const { stdout } = await call(["info", at("hostile.json")]);
      assert.deepEqual(stdout.split("\n").slice(1), [
        "na\\u001bme  1",
        "prompt      a\\u001b]0;title\\u0007\\n\\u009b31mred",
        'list        ["\\u001b[2J"]',
        "",
      ]);
    });

    test("escapes them in JSON", async () => {
      const { stdout } = await call(["info", at("hostile.json"), "--json"]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find.
      assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
      assert.deepEqual(JSON.parse(stdout).parameters, hostile);
    });
  });

  for (const flags of [[], ["--json"]])
    test(`refuses JSON that is nested a million levels deep ${flags}`, async () => {
      writeFileSync(at("deep.json"), `{"a":${"[".repeat(1e6)}${"]".repeat(1e6)}}`);
      const { code, stderr } = await call(["info", at("deep.json"), ...flags]);
      assert.equal(code, 1);
      assert.match(stderr, /nested more than 100 levels deep/);
    });

  for (const argv of [["info"], ["info", "a.png", "b.png"]])
    test(`refuses "${argv.join(" ")}": it takes one image`, async () => {
      const { code, stderr } = await call(argv);
      assert.equal(code, 2);
      assert.match(stderr, /^Specify one image/);
    });
});
