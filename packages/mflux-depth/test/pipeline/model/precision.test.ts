import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { memory } from "@mflux-depth/mlx";
import { componentDType } from "../../../src/pipeline/model/precision.js";
import { relativeError } from "../../support/tensors.js";
import { loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

describe("quantized weights", () => {
  const sizes: number[] = [];
  const latents: Float32Array[] = [];
  before(async () => {
    for (const quantize of ["none", 8, 4] as const) {
      const free = memory.activeMemory();
      using flux = await loadTinyWorld({ quantize, memory: "resident" });
      latents.push((await flux.generate({ ...smallRequest, steps: 1 })).latents.data);
      sizes.push(memory.activeMemory() - free);
    }
  });

  test("give latents that are closer to the exact ones the more bits they have", () => {
    const [dense, eight, four] = latents as [Float32Array, Float32Array, Float32Array];
    assert.ok(relativeError(eight, dense) > 0);
    assert.ok(relativeError(eight, dense) < relativeError(four, dense) / 4);
    assert.ok(relativeError(four, dense) < 0.2);
  });

  test("take less memory the fewer bits they have", () => {
    assert.ok(sizes[2]! < sizes[1]! && sizes[1]! < sizes[0]! * 0.75, `${sizes}`);
  });
});

describe("bfloat16", () => {
  test("gives latents close to those of float32", async () => {
    using whole = await loadTinyWorld();
    using half = await loadTinyWorld({ dtype: "bfloat16" });
    const request = { ...smallRequest, steps: 1, width: 64, height: 64 };
    const [expected, found] = [await whole.generate(request), await half.generate(request)];
    const error = relativeError(found.latents.data, expected.latents.data);
    assert.ok(error > 1e-5 && error < 0.1, `${error}`);
    assert.equal(found.metadata.precision, "bfloat16");
  });
});

describe("the dtype of a component", () => {
  const precision = {
    bits: null,
    bitsAreStored: false,
    int8: false,
    fused: false,
    matricesAsStored: false,
  } as const;

  test("is float32 instead of float16 if its activations need the range", () => {
    const inFloat16 = { ...precision, dtype: "float16" } as const;
    assert.equal(componentDType({ float32InsteadOfFloat16: true }, inFloat16), "float32");
  });

  test("is the model's otherwise", () => {
    assert.equal(componentDType({}, { ...precision, dtype: "float16" }), "float16");
    const inBfloat16 = { ...precision, dtype: "bfloat16" } as const;
    assert.equal(componentDType({ float32InsteadOfFloat16: true }, inBfloat16), "bfloat16");
  });
});
