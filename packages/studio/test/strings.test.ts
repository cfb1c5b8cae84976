import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** Attributes that people read or hear. */
const spoken = "label|title|alt|placeholder|closeLabel|hint|help|aria-(?:label|description|valuetext)";

/** Words that a component has of its own: between tags, or in an attribute that people read. */
const wordsIn = (code: string): string[] =>
  [
    ...code.matchAll(/(?<!=)>\s*([A-Za-z][^<>{}]*)<\//g),
    ...code.matchAll(new RegExp(`\\b(?:${spoken})="([^"]*[A-Za-z][^"]*)"`, "g")),
  ].map(([, words]) => words!.trim());

describe("the words of the page", () => {
  test("are found in components that have some of their own", () => {
    assert.deepEqual(wordsIn('<p title="A title">\n  Some words\n</p>'), ["Some words", "A title"]);
    assert.deepEqual(wordsIn("<p title={text.title}>{text.words}</p>;\nxs.map((a) => a < b);"), []);
  });

  test("are all in one file", () => {
    const files = readdirSync(source, { recursive: true, encoding: "utf8" });
    assert.deepEqual(
      files.filter((file) => /(^|\/)strings\.ts$/.test(file)),
      ["strings.ts"],
    );
    const components = files.filter((file) => file.endsWith(".tsx"));
    assert.ok(components.length > 30);
    for (const file of components)
      assert.deepEqual(wordsIn(readFileSync(join(source, file), "utf8")), [], file);
  });
});
