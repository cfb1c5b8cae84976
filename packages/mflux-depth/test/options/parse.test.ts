import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import { loadOptions, type OptionSpec, parseOption, requestOptions } from "../../src/options/index.js";

const table: Readonly<Record<string, OptionSpec>> = { ...requestOptions, ...loadOptions };
const parse = (name: string, text: string): unknown => parseOption(name, table[name]!.kind, text);

describe("a text is read as its value:", () => {
  const read: [string, string, unknown][] = [
    ["steps", "20", 20],
    ["steps", " 20 ", 20],
    ["guidance", "3.5", 3.5],
    ["guidance", ".5", 0.5],
    ["guidance", "1e1", 10],
    ["quantize", "4", 4],
    ["quantize", "None", "none"],
    ["offline", "true", true],
    ["offline", "false", false],
    ["image", "photo.jpg", "photo.jpg"],
    ["model", "a/b", "a/b"],
  ];
  for (const [name, text, value] of read)
    test(`${name} ${JSON.stringify(text)}`, () => {
      assert.equal(parse(name, text), value);
    });
});

describe("a text is refused as a whole number:", () => {
  for (const text of ["", " ", "abc", "12abc", "0x10", "1,5", "NaN", "Infinity", "--3", "1_000", "２０"])
    test(JSON.stringify(text), () => {
      assert.throws(() => parse("steps", text), OptionError);
    });
});

describe("a refused text", () => {
  test("is quoted, with what was expected", () => {
    assert.throws(
      () => parse("steps", "abc"),
      /^OptionError: steps must be a whole number from 1 to 50, not "abc"\.$/,
    );
  });

  test("lists the choices", () => {
    assert.throws(() => parse("quantize", "7"), /one of 3, 4, 5, 6, 8, none/);
  });

  test("names a blank path", () => {
    assert.throws(() => parse("image", " "), /image must be the path of a file; it is blank/);
  });
});
