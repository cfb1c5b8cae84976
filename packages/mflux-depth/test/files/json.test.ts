import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { readConfig } from "../../src/files/json.js";
import { folderPerTest, writeJson as writeFile } from "../support/folders.js";
import { makePipe, withoutPipes } from "../support/pipes.js";
import { refused } from "../support/refusals.js";

const current = folderPerTest("json");
let folder = "";
beforeEach(() => {
  folder = current();
});

const writeJson = (name: string, value: unknown): void => writeFile(join(folder, name), value);

describe("readConfig", () => {
  test("refuses a pipe without waiting for a writer", { skip: withoutPipes }, () => {
    makePipe(join(folder, "config.json"));
    refused(() => readConfig(folder, "config.json"), join(folder, "config.json"), /is a pipe, a device/);
  });

  test("refuses a link to an endless device", { skip: withoutPipes }, () => {
    symlinkSync("/dev/zero", join(folder, "config.json"));
    refused(() => readConfig(folder, "config.json"), join(folder, "config.json"), /is a pipe, a device/);
  });

  test("reads an object and says what is wrong with others", () => {
    writeJson("config.json", { a: 1 });
    assert.deepEqual(readConfig(folder, "config.json"), { a: 1 });
    for (const [text, message] of [
      ["{", /not valid JSON/],
      ["", /not valid JSON/],
      ["[1]", /expected a JSON object/],
    ] as const) {
      writeJson("config.json", text);
      refused(() => readConfig(folder, "config.json"), join(folder, "config.json"), message);
    }
    refused(() => readConfig(folder, "other.json"), join(folder, "other.json"), /this file is missing/);
    mkdirSync(join(folder, "folder.json"));
    refused(() => readConfig(folder, "folder.json"), join(folder, "folder.json"), /is a folder/);
  });
});
