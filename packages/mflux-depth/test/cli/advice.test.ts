import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { messageWithAdvice } from "../../src/cli/advice.js";
import {
  type MemoryAlternative,
  MemoryError,
  ModelError,
  OptionError,
  type Remedy,
} from "../../src/errors.js";

const advice = (...remedies: Remedy[]): string =>
  messageWithAdvice(new ModelError("x", "it cannot be used", { details: { remedies } }));

describe("advice on the command line", () => {
  test("names the flag of an option", () => {
    assert.equal(
      advice({ kind: "set-option", option: "configFrom" }),
      "x: it cannot be used. Use --config-from NAME.",
    );
  });

  test("names the flag and the value", () => {
    assert.match(
      advice({ kind: "set-option", option: "model", value: "tiny-world" }),
      / Use --model tiny-world\.$/,
    );
  });

  test("writes a boolean option as a flag alone", () => {
    assert.match(
      advice({ kind: "set-option", option: "force", value: true, purpose: "try anyway" }),
      / Use --force to try anyway\.$/,
    );
  });

  test("writes false with the flag that negates", () => {
    assert.match(advice({ kind: "set-option", option: "int8", value: false }), / Use --no-int8\.$/);
  });

  test("writes false as a value where no flag negates", () => {
    assert.match(advice({ kind: "set-option", option: "offline", value: false }), / Use --offline=false\.$/);
  });

  test("names the flag to leave out", () => {
    assert.match(advice({ kind: "omit-option", option: "invertDepth" }), / Leave out --invert-depth\.$/);
  });

  const downloads: [Parameters<typeof advice>[0], string][] = [
    [{ kind: "download", model: "a/b" }, "`mflux-depth download`"],
    [{ kind: "download", model: "a/b", option: "model" }, "`mflux-depth download --model a/b`"],
    [
      { kind: "download", model: "a/b", option: "depthModel" },
      "`mflux-depth download --only-depth --depth-model a/b`",
    ],
    [
      { kind: "download", model: "black-forest-labs/FLUX.1-Depth-dev", option: "model" },
      "`mflux-depth download`",
    ],
  ];
  for (const [remedy, command] of downloads)
    test(`names the command that downloads a model: ${command}`, () => {
      assert.equal(advice(remedy), `x: it cannot be used. Download it now with ${command}.`);
    });

  test("says when a flag applies", () => {
    assert.match(
      advice({ kind: "omit-option", option: "invertDepth", condition: "white means near" }),
      / If white means near, leave out --invert-depth\.$/,
    );
  });

  test("names the command that installs a part again", () => {
    assert.match(advice({ kind: "reinstall", part: "everything" }), / Run `npm ci`\.$/);
  });

  test("names a variable to correct", () => {
    assert.match(advice({ kind: "correct-variable", variable: "X" }), / Unset X, or correct it\.$/);
  });

  test("names the command that inspects the machine", () => {
    assert.match(advice({ kind: "inspect-machine" }), / Run mflux-depth doctor\.$/);
  });

  test("names flags in a message about options", () => {
    const error = new OptionError("depthNear", "depthNear (10) must be above depthFar (20).");
    assert.equal(messageWithAdvice(error), "--depth-near (10) must be above --depth-far (20).");
  });

  test("returns a message without remedies unchanged", () => {
    assert.equal(advice(), "x: it cannot be used");
  });
});

describe("advice on too little memory", () => {
  const tooLittle = (...alternatives: MemoryAlternative[]): string =>
    messageWithAdvice(new MemoryError(2e9, 1e9, "Too little.", { details: { alternatives } }));

  test("writes each alternative in flags, with its peak", () => {
    assert.equal(
      tooLittle({ memory: "low", quantize: 3, peak: 0.9e9 }, { width: 768, height: 512, peak: 0.5e9 }),
      "Too little. It would fit with --memory low --quantize 3 (900.0 MB), or with --width 768 --height 512 (500.0 MB).",
    );
  });

  test("says that nothing would fit", () => {
    assert.equal(tooLittle(), "Too little. No smaller setting would fit.");
  });
});
