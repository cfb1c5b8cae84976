import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fieldNamed, fieldsOf } from "../../src/state/fields.js";

describe("the fields of a schema", () => {
  const fields = fieldsOf({
    type: "object",
    required: ["prompt"],
    properties: {
      prompt: { title: "Prompt", description: "What to draw.", type: "string", maxLength: 4000 },
      image: { anyOf: [{ anyOf: [{ properties: { blob: { type: "string" } } }] }, { type: "null" }] },
      width: {
        title: "Width",
        default: 1024,
        anyOf: [{ type: "integer", minimum: 16, maximum: 4096 }, { type: "null" }],
        "x-form": { minimum: 256, maximum: 2048 },
      },
      quantize: { default: 4, anyOf: [{ enum: [4, 8, "none"] }, { type: "null" }] },
      lists: { type: "array" },
    },
  });

  test("have their kinds, ranges and defaults", () => {
    assert.deepEqual(fieldNamed(fields, "prompt")?.kind, { type: "text", max: 4000 });
    assert.equal(fieldNamed(fields, "prompt")?.required, true);
    assert.deepEqual(fieldNamed(fields, "image")?.kind, { type: "picture" });
    const width = fieldNamed(fields, "width")!;
    assert.deepEqual(width.kind, {
      type: "number",
      integer: true,
      min: 16,
      max: 4096,
      slider: { min: 256, max: 2048 },
    });
    assert.equal(width.default, 1024);
    assert.deepEqual(fieldNamed(fields, "quantize")?.kind, { type: "choice", values: [4, 8, "none"] });
  });

  test("leave out what a form has nothing for", () => {
    assert.equal(fieldNamed(fields, "lists"), undefined);
  });
});
