import { astype, type DType, type MxArray, scope } from "../../src/index.js";
import { Conv2d, Embedding, LayerNorm, Linear, Module } from "../../src/nn/index.js";
import { normal } from "./numbers.js";

class Block extends Module {
  readonly toOut: readonly [Linear, null];
  readonly norm1: LayerNorm;
  readonly convIn: Conv2d;

  constructor() {
    super();
    this.toOut = [new Linear(64, 8), null];
    this.norm1 = new LayerNorm(8);
    this.convIn = new Conv2d(2, 4, { kernelSize: 3 });
  }
}

/** A module of every kind of layer that loads in its own way. */
export class Model extends Module {
  readonly attnBlocks: readonly Block[] = [new Block(), new Block()];
  readonly embedTokens = new Embedding(6, 64);
  readonly odd = new Linear(10, 3);
}

/** Tensors that fit Model, under the names of a file. */
export const checkpoint = (dtype: DType = "float32"): Map<string, MxArray> => {
  const shapes: [string, number[]][] = [0, 1].flatMap((i): [string, number[]][] => [
    [`attn_blocks.${i}.to_out.0.weight`, [8, 64]],
    [`attn_blocks.${i}.to_out.0.bias`, [8]],
    [`attn_blocks.${i}.norm1.weight`, [8]],
    [`attn_blocks.${i}.norm1.bias`, [8]],
    [`attn_blocks.${i}.conv_in.weight`, [4, 2, 3, 3]],
    [`attn_blocks.${i}.conv_in.bias`, [4]],
  ]);
  shapes.push(["embed_tokens.weight", [6, 64]], ["odd.weight", [3, 10]], ["odd.bias", [3]]);
  return scope(() => new Map(shapes.map(([name, shape], i) => [name, astype(normal(shape, 50 + i), dtype)])));
};
