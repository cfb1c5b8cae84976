import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { bfloat16AttentionSpeed, canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { FluxDepth, type GenerationResult, type LoadOptions, OptionError } from "../../src/index.js";
import { relativeError } from "../support/tensors.js";
import { gradientMap } from "../support/tiny-world.js";

const request = {
  prompt: "a red cone, on grass",
  depthImage: gradientMap,
  width: 64,
  height: 64,
  steps: 4,
  seed: 7,
};

type Products = Pick<LoadOptions, "quantize" | "int8" | "dtype">;

async function generateWith(options: Products): Promise<GenerationResult> {
  using flux = await FluxDepth.load({ model: "tiny-world", device: "cpu", ...options });
  return await flux.generate(request);
}

/** Several tests compare the same generations. */
const generations = new Map<string, Promise<GenerationResult>>();

function generate({ quantize, int8, dtype }: Products): Promise<GenerationResult> {
  const key = [quantize, int8, dtype].join();
  const known = generations.get(key) ?? generateWith({ quantize, int8, dtype });
  generations.set(key, known);
  return known;
}

const latents = async (options: Products): Promise<Float32Array> => (await generate(options)).latents.data;

const withoutIntegers = canMultiplyIntegers() ? false : "needs a Linux CPU with AVX2 or AVX-512 VNNI";

test("8-bit inputs change latents less than 4-bit weights do", { skip: withoutIntegers }, async () => {
  const [dense, exact, int8] = [
    await latents({ quantize: "none" }),
    await latents({ quantize: 4, int8: false }),
    await latents({ quantize: 4, int8: true }),
  ];
  const ofWeights = relativeError(exact, dense);
  const ofInputs = relativeError(int8, exact);
  assert.ok(ofInputs > 1e-5, `8-bit inputs were not used: ${ofInputs}`);
  assert.ok(ofInputs < ofWeights / 4, `${ofInputs} from inputs, ${ofWeights} from weights`);
});

const defaults: [name: string, options: Products, int8: boolean][] = [
  ["used for quantized weights where the CPU can", { quantize: 4 }, canMultiplyIntegers()],
  ["not used for weights that are not quantized", { quantize: "none" }, false],
  ["not used in bfloat16", { quantize: 4, dtype: "bfloat16" }, false],
];
for (const [name, options, int8] of defaults)
  test(`by default, 8-bit inputs are ${name}, and the image says so`, async () => {
    const [byDefault, explicit] = [await generate(options), await generate({ ...options, int8 })];
    assert.deepEqual(byDefault.latents, explicit.latents);
    assert.deepEqual([byDefault.metadata.int8, explicit.metadata.int8], [int8, int8]);
  });

for (const quantize of [4, 8] as const)
  test(`8-bit inputs lose less than bfloat16 with ${quantize}-bit weights`, {
    skip: canMultiplyIntegers(quantize) ? false : "needs a Linux CPU with integer products for these weights",
  }, async () => {
    const exact = await latents({ quantize, int8: false });
    const ofInputs = relativeError(await latents({ quantize, int8: true }), exact);
    const ofBfloat16 = relativeError(await latents({ quantize, dtype: "bfloat16" }), exact);
    assert.ok(ofInputs < ofBfloat16 / 2, `${ofInputs} from inputs, ${ofBfloat16} from bfloat16`);
  });

test("8-bit inputs come with attention in bfloat16", {
  skip:
    bfloat16AttentionSpeed() === "faster" ? false : "needs a CPU on which attention in bfloat16 is faster",
}, async () => {
  // Weights that are not quantized are multiplied exactly either way.
  const [exact, rounded] = [
    await latents({ quantize: "none" }),
    await latents({ quantize: "none", int8: true }),
  ];
  const ofAttention = relativeError(rounded, exact);
  assert.ok(ofAttention > 1e-6 && ofAttention < 1e-2, `${ofAttention}`);
});

test("8-bit inputs are refused for 8-bit weights on a CPU that would round their sums", {
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

test("8-bit inputs are refused in bfloat16", async () => {
  await assert.rejects(
    FluxDepth.load({ model: "tiny-world", device: "cpu", dtype: "bfloat16", int8: true }),
    (error) => error instanceof OptionError && error.option === "int8" && /AVX-512 VNNI/.test(error.message),
  );
});
