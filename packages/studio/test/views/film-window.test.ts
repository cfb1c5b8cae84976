import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type FilmLayout, placeOf, rangeOf, spacesOf } from "../../src/views/film-window.js";

const row: FilmLayout = { columns: 1, cell: 80, gap: 8, scroll: 0, visible: 1200 };
const rows: FilmLayout = { columns: 4, cell: 76, gap: 8, scroll: 0, visible: 300 };

describe("the window of a film", () => {
  for (const [name, layout] of Object.entries({ "one row": row, "four columns": rows }))
    test(`has all that is seen, wherever ${name} is scrolled to`, () => {
      const stride = layout.cell + layout.gap;
      for (let scroll = 0; scroll < 100_000; scroll += 777) {
        const { first, end } = rangeOf({ ...layout, scroll });
        const seen = Math.floor(scroll / stride) * layout.columns;
        const unseen = Math.ceil((scroll + layout.visible) / stride) * layout.columns;
        assert.ok(first <= seen && end >= unseen, `${scroll}: ${first} to ${end}`);
        assert.ok(end - first <= 32 * layout.columns + 32, `${scroll}: ${first} to ${end}`);
      }
    });

  test("stays the same for small movements", () => {
    assert.deepEqual(rangeOf({ ...row, scroll: 10_000 }), rangeOf({ ...row, scroll: 10_010 }));
  });

  test("keeps the length of a film in one row", () => {
    const range = { first: 100, end: 140 };
    const { before, after } = spacesOf(row, range, 1000);
    assert.equal(before + row.gap, placeOf(row, range.first));
    assert.equal(before + after + 2 * row.gap + 40 * 88 - row.gap, 1000 * 88 - row.gap);
  });

  test("keeps whole rows of a film in several columns, the last of which may not be full", () => {
    const { before, after } = spacesOf(rows, { first: 40, end: 80 }, 98);
    assert.equal(before, 10 * 84 - 8);
    assert.equal(after, 5 * 84 - 8);
    assert.equal(placeOf(rows, 41), 10 * 84);
  });

  test("leaves no room where there is nothing", () => {
    assert.deepEqual(spacesOf(row, { first: 0, end: 12 }, 12), { before: 0, after: 0 });
  });
});
