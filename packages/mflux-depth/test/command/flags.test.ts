import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { describeFlags } from "../../src/command/flag-help.js";
import { parseFlags, pick, refusePositionals } from "../../src/command/flags.js";
import { OptionError } from "../../src/errors.js";
import { loadOptions, type OptionSpec, requestOptions } from "../../src/options/index.js";

const table = { ...requestOptions, ...loadOptions };
const values = (...argv: string[]) => parseFlags(table, argv).values;

describe("flags", () => {
  test("take a value after a space, after = or attached", () => {
    assert.deepEqual(values("--steps", "3", "--guidance=2.5", "-q4", "-m", "x"), {
      steps: 3,
      guidance: 2.5,
      quantize: 4,
      model: "x",
    });
  });

  test("collect the values of an option that takes many", () => {
    assert.deepEqual(values("--seed", "1", "2", "--seed=3"), { seed: [1, 2, 3] });
  });

  test("collect LoRAs, each with its scale behind it", () => {
    assert.deepEqual(values("--lora", "a.safetensors", "--lora=b/c:d.safetensors", "--lora", "e", "-0.5"), {
      loras: [{ source: "a.safetensors" }, { source: "b/c:d.safetensors" }, { source: "e", scale: -0.5 }],
    });
    assert.deepEqual(values("--lora", "a", "0.5", "b"), {
      loras: [{ source: "a", scale: 0.5 }, { source: "b" }],
    });
  });

  test("take the last of repeated values", () => {
    assert.deepEqual(values("--steps", "3", "--steps", "4"), { steps: 4 });
  });

  const booleans: [string[], boolean][] = [
    [["--int8"], true],
    [["--no-int8"], false],
    [["--int8=false"], false],
    [["--no-int8=false"], true],
    [["--int8", "--no-int8"], false],
  ];
  for (const [argv, value] of booleans)
    test(`read ${argv.join(" ")} as ${value}`, () => {
      assert.equal(values(...argv).int8, value);
    });

  test("take a lone dash as a value", () => {
    assert.deepEqual(values("--prompt", "-"), { prompt: "-" });
  });

  test("take a value that looks like a flag after =", () => {
    assert.deepEqual(values("--prompt=--steps"), { prompt: "--steps" });
  });

  test("end at --", () => {
    assert.deepEqual(parseFlags(table, ["a", "--steps", "3", "--", "--b"]).positionals, ["a", "--b"]);
  });

  test("have their default from the environment", () => {
    const { values } = parseFlags(table, [], { MFLUX_DEPTH_MODEL: "from-env" });
    assert.deepEqual(values, { model: "from-env" });
  });

  test("win over the environment", () => {
    const { values } = parseFlags(table, ["-m", "mine"], { MFLUX_DEPTH_MODEL: "from-env" });
    assert.deepEqual(values, { model: "mine" });
  });

  const refused: [string, string[], RegExp][] = [
    [
      "an unknown flag, with the nearest",
      ["--step", "3"],
      /^There is no flag --step; did you mean --steps\?$/,
    ],
    ["an unknown flag like none", ["--zzzzzzz"], /^There is no flag --zzzzzzz; --help lists the flags\.$/],
    ["a name of JavaScript's objects", ["--constructor"], /^There is no flag --constructor/],
    ["a flag without its value", ["--prompt"], /^--prompt needs a value/],
    ["a flag in place of a value", ["--prompt", "--steps", "3"], /^--prompt needs a value: [^.]+\.$/],
    [
      "a value that looks like a flag, with how to give it",
      ["--prompt", "- a list"],
      /^--prompt needs a value: .*\. If it begins with a dash, write --prompt=VALUE\.$/,
    ],
    [
      "a value outside the range",
      ["--steps", "51"],
      /^--steps must be a whole number from 1 to 50, not 51\.$/,
    ],
    ["a bad value among many", ["--seed", "1", "2x"], /not "2x"/],
    [
      "a LoRA's scale outside the range",
      ["--lora", "a", "101"],
      /^--lora: the scale must be from -100 to 100, not 101\.$/,
    ],
    ["a bad value of a boolean", ["--int8=maybe"], /^--int8 must be true or false/],
  ];
  for (const [what, argv, message] of refused)
    test(`refuse ${what}`, () => {
      assert.throws(
        () => values(...argv),
        (error) => error instanceof OptionError && error.exitCode === 2 && message.test(error.message),
      );
    });

  test("of one table can be picked from those read together", () => {
    assert.deepEqual(pick(values("--steps", "3", "-q", "8"), loadOptions), { quantize: 8 });
  });
});

test("positional arguments are refused by commands that take none", () => {
  assert.throws(() => refusePositionals(["portrait"]), /^OptionError: "portrait" is not a flag/);
});

describe("the help of flags", () => {
  const help = describeFlags("All", table).replace(/\s+/g, " ");

  for (const [name, spec] of Object.entries<OptionSpec>(table))
    test(`has the flags and the default of ${name}`, () => {
      assert.ok(help.includes(spec.flags.join(", ")));
      if (spec.default !== undefined && spec.kind.type !== "boolean")
        assert.ok(help.includes(`efault ${spec.default}`));
      if (spec.defaultText) assert.ok(help.includes(`efault: ${spec.defaultText}`));
    });

  test("has text, range and default in one line", () => {
    assert.ok(help.includes("--steps N Denoising steps. Whole number from 1 to 50; default 20."));
  });

  test("shows that an option takes several values", () => {
    assert.ok(help.includes("--seed N … "));
  });

  test("names the environment variable", () => {
    assert.ok(help.includes("environment MFLUX_DEPTH_DEVICE."));
  });
});
