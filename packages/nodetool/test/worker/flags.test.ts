import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "mflux-depth/errors";
import { idleSecondsIn, parseFlags, placeIn } from "../../src/worker/flags.js";

describe("the worker's flags", () => {
  for (const argv of [["--port", "-1"], ["--port=-1"], ["--port", "65536"], ["--port", "1.5"]])
    test(`refuse ${argv.join(" ")}`, () =>
      assert.throws(
        () => placeIn(parseFlags(argv)),
        (error) =>
          error instanceof OptionError &&
          /^--port must be a whole number from 0 to 65535, not /.test(error.message),
      ));

  test("refuse a negative time", () =>
    assert.throws(
      () => idleSecondsIn(parseFlags(["--idle-minutes", "-1"])),
      /^OptionError: --idle-minutes must be a number of at least 0, not -1\.$/,
    ));

  test("take a port", () => assert.equal(placeIn(parseFlags(["--port", "80"])).port, 80));
});
