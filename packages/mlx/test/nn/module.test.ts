import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { arrayEqual, memory, quantize } from "../../src/index.js";
import { propertyPath } from "../../src/nn/index.js";
import { checkpoint, Model } from "../support/model.js";

describe("Module", () => {
  it("maps keys of files to property paths", () => {
    assert.equal(
      propertyPath("transformer_blocks.0.attn.to_out.0.weight"),
      "transformerBlocks.0.attn.toOut.0.weight",
    );
    assert.equal(propertyPath("time_text_embed.linear_1.bias"), "timeTextEmbed.linear1.bias");
    assert.equal(propertyPath("layer.0.SelfAttention.q.weight"), "layer.0.SelfAttention.q.weight");
  });
  it("quantizes the layers that the predicate selects, in place", async () => {
    const model = new Model();
    await model.load(checkpoint());
    const old = model.embedTokens.weight;
    const expected = quantize(old, { bits: 6 });
    const asked: string[] = [];
    model.quantize({ bits: 6 }, (path) => {
      asked.push(path);
      return path === "embedTokens";
    });
    assert.deepEqual(asked, ["attnBlocks.0.toOut.0", "attnBlocks.1.toOut.0", "embedTokens"]);
    assert.equal(arrayEqual(model.embedTokens.weight, expected.weight).item(), true);
    assert.ok(old.disposed);
    assert.equal(model.attnBlocks[0]!.toOut[0].quantization, null);
    assert.ok(model.parameters().has("embedTokens.scales"));
  });
  it("releases all memory on dispose", async () => {
    memory.clearCache();
    const before = memory.activeMemory();
    const handles = memory.liveHandles();
    const model = new Model();
    await model.load(checkpoint(), { quantization: { bits: 8 } });
    model.dispose();
    // The garbage collector may free other handles meanwhile.
    assert.ok(memory.liveHandles() <= handles);
    assert.ok(memory.activeMemory() <= before);
  });
});
