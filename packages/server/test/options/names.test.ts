import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toJsonName, toJsonNames, toOptionName, toOptionNames } from "../../src/options/names.js";
import { loadTable, pictureNames, requestTables } from "../../src/options/tables.js";

describe("names of options", () => {
  const tables = [requestTables.generate, requestTables.depth, loadTable];

  test("survive the way to JSON and back", () => {
    for (const name of tables.flatMap(Object.keys)) assert.equal(toOptionName(toJsonName(name)), name);
  });

  test("are snake_case in JSON", () => {
    for (const name of tables.flatMap(Object.keys))
      assert.match(toJsonName(name), /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
  });

  test("change, and values do not", () => {
    assert.deepEqual(toJsonNames({ depthImage: 1, int8: null }), { depth_image: 1, int8: null });
    assert.deepEqual(toOptionNames({ depth_image: 1, int8: null }), { depthImage: 1, int8: null });
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
