import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inOptions, phraseRemedies, type Terms } from "../src/advice.js";

describe("a message with its remedies in the names of options", () => {
  test("says what to set, when, and what for", () => {
    const message = "The map looks inverted.";
    const condition = "white means far";
    assert.equal(
      inOptions({
        message,
        remedies: [
          { kind: "set-option", option: "invertDepth", value: true, condition },
          { kind: "set-option", option: "dtype", value: "float32", purpose: "be sure" },
          { kind: "omit-option", option: "trustDepth" },
        ],
      }),
      "The map looks inverted. If white means far, set invertDepth. Set dtype to float32 to be sure. Omit trustDepth.",
    );
  });

  test("omits remedies without an option", () =>
    assert.equal(
      inOptions({ message: "It failed.", remedies: [{ kind: "inspect-machine" }] }),
      "It failed.",
    ));
});

test("a front end omits remedies that it does not offer", () => {
  const terms: Terms = { set: () => null, omit: (option) => `clear ${option}`, other: () => null };
  const remedies = [
    { kind: "set-option", option: "force" },
    { kind: "omit-option", option: "seed" },
  ] as const;
  assert.deepEqual(phraseRemedies(remedies, terms), ["Clear seed."]);
});
