import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { searchText, searchWords } from "../../src/ledger/search-text.js";

const finds = (query: string, text: string): boolean =>
  searchWords(query).every((word) => searchText(text).includes(word));

describe("a search in prompts", () => {
  for (const [query, text] of [
    ["CASTLE", "a castle on a hill"],
    ["hill castle", "a castle on a hill"],
    ["ÄRGER", "ärger im paradies"],
    ["strasse", "eine Straße bei Nacht"],
    ["ὈΔΥΣΣΕΎΣ", "Ὀδυσσεύς"],
    ["МОСКВА", "улица Москва"],
    ["富士", "冬の富士山"],
    ["cafe\u0301", "café"],
    ["ｃａｔ", "cat"],
  ] as const)
    test(`for ${query} finds ${text}`, () => assert.equal(finds(query, text), true));

  test("for a word that is missing finds nothing", () => {
    assert.equal(finds("castle sea", "a castle on a hill"), false);
  });
});
