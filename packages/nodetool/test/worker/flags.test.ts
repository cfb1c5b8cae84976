import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { readFlags, usage } from "../../src/worker/flags.js";

describe("the worker's flags", () => {
  for (const argv of [["--port", "-1"], ["--port=-1"], ["--port", "65536"], ["--port", "1.5"]])
    test(`refuse ${argv.join(" ")}`, () =>
      assert.throws(
        () => readFlags(argv),
        (error) =>
          error instanceof OptionError &&
          /^--port must be a whole number from 0 to 65535, not /.test(error.message),
      ));

  test("refuse a negative time", () =>
    assert.throws(
      () => readFlags(["--idle-minutes", "-1"]),
      /^OptionError: --idle-minutes must be a number of at least 0, not -1\.$/,
    ));

  test("refuse a blank address", () =>
    assert.throws(() => readFlags(["--host", " "]), { name: "OptionError", message: /^--host must be / }));

  test("suggest the nearest flag for a misspelt one", () =>
    assert.throws(() => readFlags(["--idle-minute", "3"]), {
      message: "There is no flag --idle-minute; did you mean --idle-minutes?",
    }));

  test("refuse other arguments", () =>
    assert.throws(() => readFlags(["8787"]), { message: /^"8787" is not a flag/ }));

  test("take a port", () => assert.equal(readFlags(["--port", "80"]).port, 80));

  test("have defaults, which the help names", () => {
    const { host, port, idleMinutes, forListening } = readFlags([]);
    assert.deepEqual([host, port, idleMinutes, forListening], ["127.0.0.1", 8787, 10, []]);
    for (const text of [/Default 127\.0\.0\.1\./, /default\s+8787\./, /default\s+10\./])
      assert.match(usage, text);
  });

  test("ignore what hosts pass to their own worker", () => {
    const argv = ["-m", "nodetool.worker", "--namespaces", "a,b", "--stdio", "--namespaces=c"];
    assert.equal(readFlags(argv).stdio, true);
  });
});
