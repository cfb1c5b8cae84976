import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  depthOptions,
  describeKind,
  loadOptions,
  type OptionSpec,
  type OptionTable,
  optionsFor,
  optionsIn,
  parseOption,
  requestOptions,
} from "../../src/options/index.js";

const tables: Readonly<Record<string, OptionTable>> = { requestOptions, loadOptions, depthOptions };
const all: [string, OptionSpec][] = Object.values(tables).flatMap((table) => Object.entries(table));

describe("every option", () => {
  for (const [name, spec] of all) {
    test(`${name} has a sentence and a range in words`, () => {
      assert.match(spec.text, /^[A-Z].*\.$/s);
      assert.ok(describeKind(spec.kind).length > 0);
    });

    if (spec.default !== undefined)
      test(`${name} has a default that passes its own check`, () => {
        assert.equal(parseOption(name, spec.kind, `${spec.default}`), spec.default);
      });

    test(`${name} applies to a command`, () => {
      assert.ok(spec.appliesTo && spec.appliesTo.length > 0);
    });
  }

  test("has a unique name and unique flags", () => {
    const words = all.flatMap(([name, { flags }]) => [name, ...flags]);
    assert.equal(new Set(words).size, words.length);
  });
});

describe("options selected", () => {
  const names = (table: OptionTable): string[] => Object.keys(table);

  test("for generate are all of a request and of a model", () => {
    assert.deepEqual(names(optionsFor(requestOptions, "generate")), names(requestOptions));
    assert.deepEqual(names(optionsFor(loadOptions, "generate")), names(loadOptions));
  });

  test("for plan are those that change the memory", () => {
    assert.deepEqual(names(optionsFor(requestOptions, "plan")), [
      ...[
        "image",
        "maskImage",
        "depthImage",
        "imageStrength",
        "width",
        "height",
        "size",
        "maxSequenceLength",
      ],
    ]);
  });

  test("for save are those of the weights", () => {
    assert.deepEqual(names(optionsFor(loadOptions, "save")), [
      ...["model", "revision", "variant", "offline", "componentsFrom", "configFrom"],
      ...["loras", "bakeLora", "loraLenient", "quantize", "dtype"],
    ]);
  });

  test("for download are those of the files", () => {
    assert.deepEqual(names(optionsFor(loadOptions, "download")), [
      ...["model", "revision", "variant", "componentsFrom", "textEncoder", "textEncoder2", "vae"],
      ...["configFrom", "depthModel", "loras"],
    ]);
  });

  test("for depth are those of the depth model", () => {
    assert.deepEqual(names(optionsFor(loadOptions, "depth")), [
      "offline",
      "depthModel",
      "depthQuantize",
      "depthInt8",
      "device",
    ]);
  });

  test("for score are those of the judge", () => {
    assert.deepEqual(names(optionsFor(loadOptions, "score")), ["offline", "device"]);
  });

  test("by group split the options of a depth map", () => {
    assert.deepEqual(names(optionsIn(depthOptions, "map")), ["invert", "near", "far", "gamma", "colour"]);
    assert.deepEqual(names(optionsIn(depthOptions, "result")), ["format", "bits", "metres"]);
  });
});
