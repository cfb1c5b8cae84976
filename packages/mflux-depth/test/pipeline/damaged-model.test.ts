import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { zeros } from "@mflux-depth/mlx";
import { ModelError } from "../../src/errors.js";
import { componentNames } from "../../src/families/flux1-depth/layout.js";
import { copyModel, rewriteTensors, someTensor, weights } from "../support/damaged-models.js";
import { folderPerTest } from "../support/folders.js";
import { inMemory, loadTinyWorld, smallRequest } from "../support/tiny-world.js";

const currentFolder = folderPerTest("damaged-model");

describe("a damaged model is refused with an error that names the file", () => {
  interface Damage {
    file: string;
    damage: (file: string) => void | Promise<void>;
    message: RegExp;
    /** The source named by the error, if it is not the damaged file. */
    source?: string;
  }
  const cases: [name: string, damage: Damage][] = [];
  for (const component of componentNames) {
    const file = weights[component];
    const tensor = someTensor[component];
    const last = tensor
      .split(".")
      .at(-2)!
      .replaceAll(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());
    cases.push(
      [
        `${component}: missing weights`,
        { file, damage: rmSync, message: /contains no weights/, source: component },
      ],
      [
        `${component}: missing config`,
        { file: `${component}/config.json`, damage: rmSync, message: /missing/ },
      ],
      [
        `${component}: missing tensor`,
        {
          file,
          damage: (path) => rewriteTensors(path, (arrays) => void arrays.delete(tensor)),
          message: new RegExp(`tensor ".*${last}\\.weight" is missing`),
        },
      ],
      [
        `${component}: tensor of another shape`,
        {
          file,
          damage: (path) =>
            rewriteTensors(path, (arrays) => void arrays.set(tensor, zeros([3, 5], "bfloat16"))),
          message: new RegExp(`tensor "${tensor.replace("text_model.", "(text_model.)?")}" is .*\\[3, 5\\]`),
        },
      ],
      [
        `${component}: tensor that does not belong to it`,
        {
          file,
          damage: (path) =>
            rewriteTensors(path, (arrays) => void arrays.set("stray", zeros([2], "bfloat16"))),
          message: /tensor "stray" does not belong to this model/,
        },
      ],
      [
        `${component}: truncated file`,
        { file, damage: (path) => truncateSync(path, statSync(path).size - 1000), message: /truncated/ },
      ],
      [`${component}: empty file`, { file, damage: (path) => truncateSync(path, 0), message: /too few/ }],
      [
        `${component}: header with a wrong length`,
        {
          file,
          damage: (path) => {
            const bytes = readFileSync(path);
            bytes.writeBigUInt64LE(bytes.readBigUInt64LE() + 2n ** 40n);
            writeFileSync(path, bytes);
          },
          message: /header should have \d+ bytes, the file has/,
        },
      ],
    );
  }
  for (const file of [
    "scheduler/scheduler_config.json",
    "transformer/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer_2/tokenizer.json",
  ])
    cases.push([`missing ${file}`, { file, damage: rmSync, message: /missing|no such file/ }]);
  for (const file of ["scheduler/scheduler_config.json", "vae/config.json", "tokenizer_2/tokenizer.json"])
    cases.push([`truncated ${file}`, { file, damage: (path) => truncateSync(path, 30), message: /JSON/ }]);

  for (const [component, text, message] of [
    [
      "text_encoder",
      '"hidden_size": 64',
      /pooled_projection_dim is 64, but text_encoder's hidden_size is 32/,
    ],
    ["text_encoder_2", '"d_model": 128', /joint_attention_dim is 128, but text_encoder_2's d_model is 64/],
  ] as const)
    cases.push([
      `${component}: from another model than the transformer`,
      {
        file: `${component}/config.json`,
        damage: (path) =>
          writeFileSync(
            path,
            readFileSync(path, "utf8").replace(
              text,
              text.replace(/\d+/, (n) => `${Number(n) / 2}`),
            ),
          ),
        message,
        source: "transformer/config.json",
      },
    ]);

  for (const [component, key] of [
    ["text_encoder", "num_hidden_layers"],
    ["text_encoder_2", "num_layers"],
    ["transformer", "num_layers"],
    ["transformer", "num_single_layers"],
    ["vae", "layers_per_block"],
  ] as const)
    cases.push([
      `${component}: two million in ${key}`,
      {
        file: `${component}/config.json`,
        damage: (path) =>
          writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), [key]: 2e6 })),
        message: new RegExp(`"${key}" is 2000000; .* needs a number of layers from 1 to 1023`),
      },
    ]);

  cases.push([
    "a tokenizer of longer prompts than the encoder takes",
    {
      file: "tokenizer/tokenizer_config.json",
      damage: (path) =>
        writeFileSync(
          path,
          JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), model_max_length: 154 }),
        ),
      message: /model_max_length is 154, but the text encoder has only 77 positions/,
    },
  ]);

  for (const [name, { file, damage, message, source }] of cases)
    test(name, async () => {
      const { folder, file: damaged } = copyModel(currentFolder(), file);
      await damage(damaged);
      const baseline = inMemory();
      const generate = async (): Promise<void> => {
        using flux = await loadTinyWorld({ model: folder });
        await flux.generate({ ...smallRequest, width: 16, height: 16, steps: 1 });
      };
      await assert.rejects(generate(), (error: unknown) => {
        assert.ok(error instanceof ModelError, `${(error as Error).stack}`);
        assert.match(error.message, message);
        assert.equal(error.source, source === undefined ? damaged : join(folder, source));
        return true;
      });
      assert.deepEqual(inMemory(), baseline);
    });
});
