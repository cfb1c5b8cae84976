import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxDepth } from "../../../src/index.js";
import { resolveLoadOptions, resolveRequest } from "../../../src/options/index.js";
import { planModel } from "../../../src/pipeline/plan.js";
import { oneFile } from "../../support/one-file.js";

const notesOf = async (file: string, quantize: 4 | 8 | "none"): Promise<readonly string[]> => {
  const load = resolveLoadOptions({ model: oneFile(file), componentsFrom: "tiny-world", quantize });
  const { notes } = await planModel(load, resolveRequest({ prompt: "any", depthImage: "any" }));
  return notes;
};

test("a plan says which blocks of a GGUF file are kept", async () => {
  assert.deepEqual(await notesOf("q4_0.gguf", 4), ["The Q4_0 blocks of q4_0.gguf stay as they are."]);
});

test("a plan says which blocks MLX cannot hold", async () => {
  assert.deepEqual(await notesOf("k-types.gguf", 8), [
    "The Q4_K, Q5_K, Q8_0 blocks of k-types.gguf stay as they are.",
    "The Q2_K, Q3_K, Q6_K blocks of k-types.gguf are quantized again, because MLX has no such quantization.",
  ]);
});

test("a plan says nothing about blocks that become values", async () => {
  assert.deepEqual(await notesOf("q8_0.gguf", "none"), []);
});

test("a model whose blocks lose bits says which option keeps them, and so does its plan", async () => {
  const note = "The Q8_0 blocks of q8_0.gguf are quantized again, to 4 bits; quantize 8 keeps them.";
  assert.deepEqual(await notesOf("q8_0.gguf", 4), [note]);
  using flux = await FluxDepth.load({
    model: oneFile("q8_0.gguf"),
    componentsFrom: "tiny-world",
    quantize: 4,
  });
  assert.ok(flux.notes.includes(note));
});
