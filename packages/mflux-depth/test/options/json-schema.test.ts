import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import {
  checkOption,
  depthOptions,
  jsonSchemaOf,
  loadOptions,
  type OptionSpec,
  type OptionTable,
  requestOptions,
} from "../../src/options/index.js";

const compile = (schema: object): ValidateFunction => new Ajv2020({ strict: true }).compile(schema);

/** Values of every type, and around the ends of the tables' ranges. */
const samples: readonly unknown[] = [
  ...["", " ", "x", "a/b", "none", "None", "cpu", "gpu", "float32", "low", "npy", "4", true, false],
  ...[-1, -0.1, 0, 0.01, 0.3, 1, 1.01, 2.5, 3, 7, 8, 15, 16, 50, 51, 64, 65, 100, 101],
  ...[512, 513, 4096, 4097, 2 ** 32 - 1, 2 ** 32, [], ["x"], {}, { repo_id: "a/b" }, { repo_id: " " }],
  ...[{ repo_id: "a/b", path: null, variant: "fp16", allow_patterns: ["*"], ignore_patterns: null }],
  ...[
    { repo_id: "a/b", other: 1 },
    { repo_id: "a/b", allow_patterns: "*" },
  ],
];

const passes = (name: string, { kind }: OptionSpec, value: unknown): boolean => {
  try {
    checkOption(name, kind, value);
    return true;
  } catch {
    return false;
  }
};

const tables: Readonly<Record<string, OptionTable>> = { requestOptions, loadOptions, depthOptions };

for (const [title, table] of Object.entries(tables))
  describe(`the JSON Schema of ${title}`, () => {
    const schema = jsonSchemaOf(table);
    const validate = compile(schema);
    const required = table === requestOptions ? { prompt: "a cube" } : {};
    const properties = schema.properties as Record<string, { default?: unknown; description?: string }>;

    for (const [name, spec] of Object.entries(table)) {
      if (spec.kind.type === "tensor") continue;

      test(`accepts for ${name} exactly the values that checkOption accepts`, () => {
        for (const value of samples)
          assert.equal(
            validate({ ...required, [name]: value }),
            passes(name, spec, value),
            `${name}: ${JSON.stringify(value)}`,
          );
      });

      test(`accepts null for ${name} only if it may be left out`, () => {
        assert.equal(validate({ ...required, [name]: null }), !spec.required);
      });

      test(`has the text and the default of ${name}`, () => {
        assert.deepEqual(
          [properties[name]?.description, properties[name]?.default],
          [spec.text, spec.default],
        );
      });
    }

    test("refuses an option that does not exist", () => {
      assert.equal(validate({ ...required, qqqqqq: 1 }), false);
    });
  });

describe("the JSON Schema of a request", () => {
  test("requires the prompt", () => {
    const validate = compile(jsonSchemaOf(requestOptions));
    assert.deepEqual([validate({ prompt: "a cube" }), validate({ steps: 3 })], [true, false]);
  });

  test("leaves out tensors, which JSON cannot hold", () => {
    assert.equal(compile(jsonSchemaOf(requestOptions))({ prompt: "x", latents: [0] }), false);
  });

  test("takes a tensor as its values or with its shape", () => {
    const validate = compile(
      jsonSchemaOf(requestOptions, { tensor: { type: "array", items: { type: "number" } } }),
    );
    const latents = { data: [0, 1], shape: [1, 2] };
    assert.equal(validate({ prompt: "x", latents: [0, 1] }), true);
    assert.equal(validate({ prompt: "x", latents }), true);
    assert.equal(validate({ prompt: "x", latents: { ...latents, shape: [0] } }), false);
    assert.equal(validate({ prompt: "x", latents: { data: [0, 1] } }), false);
  });

  test("limits the prompt to the length that checkOption accepts", () => {
    const validate = compile(jsonSchemaOf(requestOptions));
    assert.equal(validate({ prompt: "🎉".repeat(20_000) }), true);
    assert.equal(validate({ prompt: "x".repeat(20_001) }), false);
  });

  test("takes a front end's own forms of images and tensors", () => {
    const validate = compile(
      jsonSchemaOf(requestOptions, {
        image: { type: "object", properties: { upload: { type: "string" } }, required: ["upload"] },
        tensor: { type: "array", items: { type: "number" } },
      }),
    );
    assert.equal(validate({ prompt: "x", depthImage: { upload: "1" }, latents: [0.5] }), true);
    assert.equal(validate({ prompt: "x", depthImage: "/etc/passwd" }), false);
  });
});
