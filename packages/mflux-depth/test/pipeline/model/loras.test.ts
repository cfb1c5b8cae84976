import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { add, memory, ones, saveSafetensors, scope } from "@mflux-depth/mlx";
import { Linear } from "@mflux-depth/mlx/nn";
import type { FluxDepth, FluxDepthOptions } from "../../../src/index.js";
import type { Bits } from "../../../src/options/index.js";
import { resolveLoadOptions, resolveRequest } from "../../../src/options/index.js";
import { planModel } from "../../../src/pipeline/plan.js";
import {
  adapterFile,
  adapterInput,
  expected,
  goldenOutput,
  goldenRequest,
  openWithLoras,
  outputWith,
} from "../../support/adapters.js";
import { folderPerTest } from "../../support/folders.js";
import { requirePlannedPeak } from "../../support/peak.js";
import { relativeError, values } from "../../support/tensors.js";
import { digest, inMemory, loadTinyWorld, logLoads, smallRequest } from "../../support/tiny-world.js";

const [style, second, text] = ["diffusers", "second", "text-comfy"].map(adapterFile) as [
  string,
  string,
  string,
];

const folder = folderPerTest("mflux-depth-loras");

async function withFlux<T>(options: FluxDepthOptions, use: (flux: FluxDepth) => Promise<T>): Promise<T> {
  using flux = await loadTinyWorld({ memory: "resident", ...options });
  return await use(flux);
}

describe("a generation with LoRAs", () => {
  for (const [golden, loras] of [
    ["style", [style]],
    [
      "two",
      [
        { source: style, scale: 0.6 },
        { source: second, scale: -0.4 },
      ],
    ],
    ["text", [text]],
  ] as const)
    test(`has the latents of diffusers: ${golden}`, async () => {
      const { latents } = await withFlux({ loras }, (flux) =>
        flux.generate({ ...goldenRequest, latents: values(adapterInput("noise")) }),
      );
      const error = relativeError(latents.data, expected(`${golden}.latents`));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("takes other scales without reading weights again", async () => {
    const loads: string[] = [];
    const loras = [style, { source: second, scale: 0.5 }, text];
    await withFlux({ loras, ...logLoads(loads) }, async (flux) => {
      const loaded = digest(await flux.generate(smallRequest));
      const read = loads.length;
      const changed = digest(await flux.generate({ ...smallRequest, loraScales: [0.25, -1, 0.5] }));
      const again = digest(await flux.generate(smallRequest));
      assert.equal(again, loaded);
      assert.notEqual(changed, loaded);
      assert.equal(loads.length, read);
      const asLoaded = await withFlux(
        {
          loras: [
            { source: style, scale: 0.25 },
            { source: second, scale: -1 },
            { source: text, scale: 0.5 },
          ],
        },
        async (other) => digest(await other.generate(smallRequest)),
      );
      assert.equal(changed, asLoaded);
    });
  });

  test("is the plain one at scale 0", async () => {
    const plain = await withFlux({}, async (flux) => digest(await flux.generate(smallRequest)));
    const off = await withFlux({ loras: [style, text] }, async (flux) =>
      digest(await flux.generate({ ...smallRequest, loraScales: [0, 0] })),
    );
    assert.equal(off, plain);
  });

  test("refuses another number of scales before any work", async () => {
    const loads: string[] = [];
    await withFlux({ loras: [style], ...logLoads(loads) }, async (flux) => {
      await assert.rejects(flux.generate({ ...smallRequest, loraScales: [1, 2] }), {
        name: "OptionError",
        message: "loraScales has 2 numbers, but the model was loaded with 1 LoRA; give one for each.",
      });
    });
    assert.deepEqual(loads, []);
  });

  test("says in its parameters which LoRAs, and how strong", async () => {
    const { metadata } = await withFlux({ loras: [style, { source: text, scale: 0.5 }] }, (flux) =>
      flux.generate({ ...smallRequest, loraScales: [0.75, -0.5] }),
    );
    assert.deepEqual(metadata.lora_paths, ["diffusers.safetensors", "text-comfy.safetensors"]);
    assert.deepEqual(metadata.lora_scales, [0.75, -0.5]);
    const sha256 = [style, text].map((path) => createHash("sha256").update(readFileSync(path)).digest("hex"));
    assert.deepEqual(metadata.lora_sha256, sha256);
  });

  test("has a different fingerprint", async () => {
    const fingerprint = (loras: FluxDepthOptions["loras"]): Promise<string> =>
      withFlux({ loras }, async (flux) => flux.fingerprint);
    const all = [
      await fingerprint([]),
      await fingerprint([style]),
      await fingerprint([{ source: style, scale: 0.5 }]),
    ];
    assert.equal(new Set(all).size, 3);
  });

  test("names the unused keys in a warning if it is lenient", async () => {
    await withFlux({ loras: [adapterFile("strict")], loraLenient: true }, async (flux) => {
      assert.match(
        flux.notes.join(),
        /strict\.safetensors is used without the rest: 2 keys belong to no layer.*to_gate/,
      );
      const { warnings } = await flux.generate(smallRequest);
      assert.match(JSON.stringify(warnings), /to_gate/);
    });
    const error = relativeError(
      await outputWith([adapterFile("strict")], { loraLenient: true }),
      expected("strict"),
    );
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("leaves nothing in memory", async () => {
    const before = inMemory();
    await withFlux({ loras: [style, adapterFile("dora"), adapterFile("lokr"), text] }, (flux) =>
      flux.generate(smallRequest),
    );
    memory.clearCache();
    const now = inMemory();
    assert.ok(now[0] <= before[0] && now[1] <= before[1], `${before} before, ${now} after`);
  });
});

/** The output with the LoRAs merged into the weights, which are then quantized. */
async function mergedThenQuantized(file: string, bits: Bits): Promise<Float32Array> {
  const model = await openWithLoras([file]);
  const transformer = await model.components.transformer!.get();
  for (const [, layer] of transformer.modules())
    if (layer instanceof Linear)
      for (const adapter of layer.adapters) {
        layer.detach(adapter);
        layer.replace(
          "weight",
          scope(() => add(layer.weight, adapter.delta!.dense())),
        );
        adapter.dispose();
      }
  transformer.quantize({ bits });
  return goldenOutput(model);
}

describe("LoRAs on quantized weights", () => {
  for (const [bits, file, golden] of [
    [3, "diffusers", "style"],
    [4, "diffusers", "style"],
    [4, "lokr", "lokr"],
    [5, "lokr", "lokr"],
    [6, "diffusers", "style"],
    [8, "lokr", "lokr"],
  ] as const)
    test(`of ${bits} bits lose no more than merging ${file} before quantizing does`, async () => {
      const values = expected(golden);
      const attached = relativeError(await outputWith([adapterFile(file)], { quantize: bits }), values);
      const merged = relativeError(await mergedThenQuantized(adapterFile(file), bits), values);
      assert.ok(attached < 1.1 * merged, `${attached} attached, ${merged} merged`);
    });

  test("take DoRA's norms from the weights before they were quantized", async () => {
    const plain = relativeError(await outputWith([], { quantize: 3 }), expected("plain"));
    for (const file of ["dora", "dora-peft"]) {
      const error = relativeError(await outputWith([adapterFile(file)], { quantize: 3 }), expected(file));
      assert.ok(error < 1.5 * plain, `${file}: ${error}, without adapter ${plain}`);
    }
  });

  test("work with 8-bit products", async () => {
    const error = relativeError(
      await outputWith([style], { quantize: 8, int8: null }),
      await outputWith([style], { quantize: 8 }),
    );
    assert.ok(error < 2e-2, `relative error ${error}`);
  });

  test("work in bfloat16", async () => {
    for (const file of ["diffusers", "lokr", "loha", "dora"]) {
      const golden = expected(file === "diffusers" ? "style" : file);
      const error = relativeError(await outputWith([adapterFile(file)], { dtype: "bfloat16" }), golden);
      assert.ok(error < 5e-2, `${file}: relative error ${error}`);
    }
  });
});

describe("LoRAs merged into the weights", () => {
  test("give what diffusers computes", async () => {
    for (const [file, golden] of [
      ["diffusers", "style"],
      ["lokr", "lokr"],
      ["dora", "dora"],
      ["outer-kohya-alpha", "outer"],
    ] as const) {
      // The merged weights are rounded to bfloat16, in which the weights are held.
      const error = relativeError(
        await outputWith([adapterFile(file)], { bakeLora: true }),
        expected(golden),
      );
      assert.ok(error < 5e-3, `${file}: relative error ${error}`);
    }
  });

  test("are quantized once, with the change", async () => {
    for (const bits of [4, 8] as const) {
      const baked = relativeError(
        await outputWith([style], { quantize: bits, bakeLora: true }),
        await mergedThenQuantized(style, bits),
      );
      // The scales of the groups are held in bfloat16.
      assert.ok(baked < 1e-2, `${bits} bits: relative error ${baked}`);
    }
  });

  test("give a layer without a bias the bias that they add", async () => {
    const path = join(folder(), "bias.safetensors");
    const name = "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q";
    await saveSafetensors(path, new Map([[`${name}.diff_b`, ones([128])]]));
    const model = await openWithLoras([{ source: path, scale: 0.5 }], { bakeLora: true });
    const t5 = await model.components.text_encoder_2!.get();
    const layer = new Map(t5.modules()).get("encoder.block.0.layer.0.SelfAttention.q");
    assert.ok(layer instanceof Linear && layer.bias);
    assert.ok(values(layer.bias).every((value) => value === 0.5));
    model.components.text_encoder_2!.free();
  });

  test("leave no adapters behind", async () => {
    const model = await openWithLoras([style, second], { bakeLora: true });
    const transformer = await model.components.transformer!.get();
    for (const [path, layer] of transformer.modules())
      if (layer instanceof Linear) assert.deepEqual(layer.adapters, [], path);
    model.components.transformer!.free();
  });

  test("have scales of the load, which a request cannot change", async () => {
    await withFlux({ loras: [{ source: style, scale: 0 }], bakeLora: true }, async (flux) => {
      const plain = await withFlux({}, (other) => other.generate(smallRequest));
      assert.equal(digest(await flux.generate(smallRequest)), digest(plain));
      await assert.rejects(flux.generate({ ...smallRequest, loraScales: [1] }), {
        name: "OptionError",
        message: /loraScales cannot change LoRAs that are merged into the weights/,
      });
    });
  });
});

describe("the memory of LoRAs", () => {
  for (const file of ["diffusers", "comfy", "lokr", "loha", "dora", "outer-kohya"])
    test(`is planned while it is merged: ${file}`, async () => {
      const model = await openWithLoras([adapterFile(file)], { bakeLora: true, quantize: 4 });
      const component = model.components.transformer!;
      await requirePlannedPeak(component);
    });

  for (const file of ["diffusers", "comfy", "lokr", "loha", "dora", "outer-kohya"])
    test(`is planned: ${file}`, async () => {
      const plain = (await openWithLoras([])).components.transformer!.size().bytes;
      const planned = (await openWithLoras([adapterFile(file)])).components.transformer!.size().bytes - plain;
      const model = await openWithLoras([adapterFile(file)]);
      const transformer = await model.components.transformer!.get();
      let held = 0;
      for (const [, layer] of transformer.modules())
        if (layer instanceof Linear) for (const { nbytes } of layer.adapters) held += nbytes;
      model.components.transformer!.free();
      assert.ok(held > 0 && held <= planned && planned < 1.7 * held, `${held} held, ${planned} planned`);
    });

  test("counts in the plan of a generation", async () => {
    const request = resolveRequest({ prompt: "any", depthImage: "any" });
    const peak = async (loras: FluxDepthOptions["loras"]): Promise<number> => {
      const { stages } = await planModel(resolveLoadOptions({ model: "tiny-world", loras }), request);
      return stages.find(({ stage }) => stage === "denoise")!.weights;
    };
    assert.ok((await peak([style])) > (await peak([])));
  });
});
