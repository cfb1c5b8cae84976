import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { readConfig } from "../../src/files/json.js";
import { folderPerTest, writeJson } from "../support/folders.js";
import { makePipe, withoutPipes } from "../support/pipes.js";
import { refused } from "../support/refusals.js";

const folder = folderPerTest("json");
const file = "config.json";

describe("readConfig", () => {
  test("reads an object", () => {
    writeJson(join(folder(), file), { a: 1 });
    assert.deepEqual(readConfig(folder(), file), { a: 1 });
  });

  for (const [what, text, message] of [
    ["text that is not JSON", "{", /not valid JSON/],
    ["an empty file", "", /not valid JSON/],
    ["a list", "[1]", /expected a JSON object/],
  ] as const)
    test(`refuses ${what}`, () => {
      writeJson(join(folder(), file), text);
      refused(() => readConfig(folder(), file), join(folder(), file), message);
    });

  test("refuses a missing file", () =>
    refused(() => readConfig(folder(), file), join(folder(), file), /this file is missing/));

  test("refuses a folder", () => {
    mkdirSync(join(folder(), file));
    refused(() => readConfig(folder(), file), join(folder(), file), /is a folder/);
  });

  test("refuses a pipe without waiting for a writer", { skip: withoutPipes }, () => {
    makePipe(join(folder(), file));
    refused(() => readConfig(folder(), file), join(folder(), file), /is a pipe, a device/);
  });

  test("refuses a link to an endless device", { skip: withoutPipes }, () => {
    symlinkSync("/dev/zero", join(folder(), file));
    refused(() => readConfig(folder(), file), join(folder(), file), /is a pipe, a device/);
  });
});
