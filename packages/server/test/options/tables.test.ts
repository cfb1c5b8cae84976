import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toJsonName, toOptionName } from "mflux-depth/options";
import { loadTable, pictureNames, requestTables } from "../../src/options/tables.js";

describe("the names of options", () => {
  const names = [requestTables.generate, requestTables.depth, loadTable].flatMap(Object.keys);

  test("survive the way to JSON and back", () => {
    for (const name of names) assert.equal(toOptionName(toJsonName(name)), name);
  });

  test("are snake_case in JSON", () => {
    for (const name of names) assert.match(toJsonName(name), /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
  });
});

describe("the options of requests", () => {
  test("omit options without a JSON form", () => assert.ok(!("latents" in requestTables.generate)));

  test("of kind depth are a photo and its adjustments", () =>
    assert.deepEqual(Object.keys(requestTables.depth), [
      "image",
      "depthNear",
      "depthFar",
      "depthGamma",
      "invertDepth",
    ]));

  test("know which of them are pictures", () => {
    assert.deepEqual(pictureNames(requestTables.generate), ["image", "maskImage", "depthImage"]);
    assert.deepEqual(pictureNames(requestTables.depth), ["image"]);
  });
});
