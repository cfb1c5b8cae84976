import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { canMultiplyBfloat16, canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { FluxDepth, type LoadOptions, OptionError } from "../../src/index.js";

const map = {
  data: Uint8Array.from({ length: 64 * 64 }, (_, i) => 4 * (i % 64)),
  width: 64,
  height: 64,
  channels: 1,
};
const request = { prompt: "a red cone, on grass", depthImage: map, width: 64, height: 64, steps: 4, seed: 7 };

async function latents(options: LoadOptions): Promise<Float32Array> {
  using flux = await FluxDepth.load({ model: "tiny-world", device: "cpu", ...options });
  return (await flux.generate(request)).latents.data;
}

const error = (a: Float32Array, b: Float32Array): number =>
  Math.hypot(...a.map((v, i) => v - b[i]!)) / Math.hypot(...b);

test("8-bit inputs change a picture a little, less than 4-bit weights do", {
  skip: canMultiplyIntegers() ? false : "needs a Linux CPU with AVX2 or AVX-512 VNNI",
}, async () => {
  const [dense, exact, int8] = [
    await latents({ quantize: "none" }),
    await latents({ quantize: 4, int8: false }),
    await latents({ quantize: 4, int8: true }),
  ];
  const ofWeights = error(exact, dense);
  const ofInputs = error(int8, exact);
  assert.ok(ofInputs > 1e-5, `8-bit inputs were not used: ${ofInputs}`);
  assert.ok(ofInputs < ofWeights / 4, `${ofInputs} beside ${ofWeights}`);
});

test("weights that are quantized are multiplied so by default, and a picture says how it was", async () => {
  const picture = async (options: LoadOptions): Promise<{ values: Float32Array; said: boolean }> => {
    using flux = await FluxDepth.load({ model: "tiny-world", device: "cpu", ...options });
    const { latents, metadata } = await flux.generate(request);
    return { values: latents.data, said: metadata.int8 };
  };
  assert.deepEqual(
    await picture({ quantize: 4 }),
    await picture({ quantize: 4, int8: canMultiplyIntegers() }),
  );
  assert.deepEqual(await picture({ quantize: "none" }), await picture({ quantize: "none", int8: false }));
  const inBfloat16 = { quantize: 4, dtype: "bfloat16" } as const;
  assert.deepEqual(await picture(inBfloat16), await picture({ ...inBfloat16, int8: false }));
});

test("8-bit inputs lose less than computing in bfloat16", {
  skip: canMultiplyIntegers() ? false : "needs a Linux CPU with AVX2 or AVX-512 VNNI",
}, async () => {
  for (const quantize of [4, 8] as const) {
    if (!canMultiplyIntegers(quantize)) continue;
    const exact = await latents({ quantize, int8: false });
    const ofInputs = error(await latents({ quantize, int8: true }), exact);
    const ofBfloat16 = error(await latents({ quantize, dtype: "bfloat16" }), exact);
    assert.ok(ofInputs < ofBfloat16 / 2, `${ofInputs} beside ${ofBfloat16} with ${quantize} bits`);
  }
});

test("the transformer attends in bfloat16 beside 8-bit inputs", {
  skip: canMultiplyBfloat16() ? false : "needs a Linux CPU with AVX512-BF16",
}, async () => {
  // Weights that are whole are multiplied exactly either way.
  const [exact, rounded] = [
    await latents({ quantize: "none" }),
    await latents({ quantize: "none", int8: true }),
  ];
  const ofAttention = error(rounded, exact);
  assert.ok(ofAttention > 1e-6 && ofAttention < 1e-2, `${ofAttention}`);
});

test("wide weights are refused them where those would be multiplied exactly", {
  skip: process.platform === "linux" && process.arch === "x64" ? false : "needs a Linux x86-64 CPU",
}, () => {
  const load = `
    import { FluxDepth } from ${JSON.stringify(new URL("../../src/index.js", import.meta.url).href)};
    (await FluxDepth.load({ model: "tiny-world", quantize: 8, int8: true })).dispose();`;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", load], {
    env: { ...process.env, MFLUX_DEPTH_ISA: "avx2" },
    encoding: "utf8",
  });
  assert.equal(status, 1);
  assert.match(stderr, /OptionError: int8 needs .* AVX2 for weights of up to 6 bits/);
});

test("8-bit inputs are refused where they cannot be", async () => {
  await assert.rejects(
    FluxDepth.load({ model: "tiny-world", device: "cpu", dtype: "bfloat16", int8: true }),
    (error) => error instanceof OptionError && error.option === "int8" && /AVX-512 VNNI/.test(error.message),
  );
});
