import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { flux1Depth } from "../../../src/families/flux1-depth/index.js";
import type { Tokenizer } from "../../../src/tokenizers/prompt-encoder.js";
import { exposedCollector } from "../../support/garbage.js";
import { loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

/** Lists the tokenizers that a test opens, each with the name of its encoder. */
function watchOpening(t: {
  after(restore: () => void): void;
}): [encoder: string, opened: WeakRef<Tokenizer>][] {
  const list: [string, WeakRef<Tokenizer>][] = [];
  for (const encoding of flux1Depth.text) {
    const open = encoding.openTokenizer;
    t.after(() => Object.assign(encoding, { openTokenizer: open }));
    const watched: typeof open = (...given) => {
      const opened = open(...given);
      list.push([encoding.name, new WeakRef(opened)]);
      return opened;
    };
    Object.assign(encoding, { openTokenizer: watched });
  }
  return list;
}

const request = { ...smallRequest, width: 16, height: 16, steps: 1 } as const;

describe("the tokenizers of a model", () => {
  for (const memory of ["resident", "low"] as const)
    test(`are opened once for several generations, memory ${memory}`, async (t) => {
      const opened = watchOpening(t);
      using flux = await loadTinyWorld({ memory });
      assert.equal(opened.length, 0);
      await flux.generate({ ...request, prompt: "a red cube" });
      await flux.generate({ ...request, prompt: "a gold portrait" });
      assert.deepEqual(
        opened.map(([encoder]) => encoder),
        ["CLIP", "T5"],
      );
    });

  test("encode each prompt with the number of tokens that it asks for", async () => {
    using flux = await loadTinyWorld();
    const tokensOf = async (maxSequenceLength?: number): Promise<unknown> =>
      (await flux.generate({ ...request, prompt: "a cube", maxSequenceLength })).metadata.max_sequence_length;
    assert.deepEqual([await tokensOf(), await tokensOf(7), await tokensOf()], [64, 7, 64]);
  });

  test("are dropped when the instance is disposed", async (t) => {
    const collect = exposedCollector();
    const opened = watchOpening(t);
    const flux = await loadTinyWorld();
    await flux.generate(request);
    await collect();
    const kept = (): boolean[] => opened.map(([, tokenizer]) => tokenizer.deref() !== undefined);
    assert.deepEqual(kept(), [true, true]);
    flux.dispose();
    await collect();
    assert.deepEqual(kept(), [false, false]);
    assert.equal(flux.model.name, "tiny-world");
  });
});
