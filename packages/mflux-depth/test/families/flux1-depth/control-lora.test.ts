import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  array,
  astype,
  loadSafetensors,
  type MxArray,
  multiply,
  saveSafetensors,
  slice,
} from "@mflux-depth/mlx";
import { FluxDepth, type LoadOptions, saveModel } from "../../../src/index.js";
import {
  adapterFile,
  adapterInput,
  expected,
  goldenOutput,
  goldenRequest,
  openWithLoras,
} from "../../support/adapters.js";
import { modelError } from "../../support/hub-fixture.js";
import { relativeError, values } from "../../support/tensors.js";
import { bundled, digest, smallRequest } from "../../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-control-lora-"));
const base = join(folder, "base");
after(() => rmSync(folder, { recursive: true, force: true }));

/** FLUX.1-dev in small: the bundled model without control latents, and with one block of each kind. */
before(async () => {
  mkdirSync(join(base, "transformer"), { recursive: true });
  for (const name of readdirSync(bundled))
    if (!["transformer", "model_index.json"].includes(name))
      symlinkSync(join(bundled, name), join(base, name));
  writeFileSync(join(base, "model_index.json"), JSON.stringify({ _class_name: "FluxPipeline" }));
  const config = JSON.parse(readFileSync(join(bundled, "transformer/config.json"), "utf8"));
  const smaller = { ...config, in_channels: 64, out_channels: null, num_layers: 1, num_single_layers: 1 };
  writeFileSync(join(base, "transformer/config.json"), JSON.stringify(smaller));
  const { arrays } = loadSafetensors(join(bundled, "transformer/diffusion_pytorch_model.safetensors"));
  const kept = [...arrays].flatMap(([key, tensor]): [string, MxArray][] => {
    if (/transformer_blocks\.([1-9])\./.test(key)) return [];
    return [[key, key === "x_embedder.weight" ? slice(tensor, [null, [0, 64]]) : tensor]];
  });
  await saveSafetensors(join(base, "transformer/diffusion_pytorch_model.safetensors"), new Map(kept));
});

const control = adapterFile("control-lora");
type Given = NonNullable<LoadOptions["loras"]>;

const outputWith = async (loras: Given, options: LoadOptions = {}): Promise<Float32Array> =>
  goldenOutput(await openWithLoras(loras, { model: base, ...options }), "control.");

describe("the depth LoRA on FLUX.1-dev gives what diffusers computes with merged weights", () => {
  const cases: readonly (readonly [golden: string, loras: Given])[] = [
    ["control-1", [control]],
    ["control-0.85", [{ source: control, scale: 0.85 }]],
    ["control-0", [{ source: control, scale: 0 }]],
    [
      "control-and-style",
      [
        { source: control, scale: 0.85 },
        { source: adapterFile("base-style"), scale: 0.5 },
      ],
    ],
  ];
  for (const [golden, loras] of cases)
    test(golden, async () => {
      const error = relativeError(await outputWith(loras), expected(golden));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("merged into the weights and biases", async () => {
    const error = relativeError(await outputWith([control], { bakeLora: true }), expected("control-1"));
    assert.ok(error < 5e-3, `relative error ${error}`);
  });

  test("saved as a model of its own, at 0.85", async () => {
    const path = join(folder, "saved");
    const loras = [{ source: control, scale: 0.85 }];
    await saveModel({ model: base, loras, bakeLora: true, quantize: "none", dtype: "float32", path });
    const error = relativeError(await outputWith([], { model: path }), expected("control-0.85"));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("saved in a file of its own, at 0.85", async () => {
    const path = join(folder, "separate");
    const loras = [{ source: control, scale: 0.85 }];
    await saveModel({ model: base, loras, quantize: "none", dtype: "float32", path });
    const error = relativeError(await outputWith([], { model: path }), expected("control-0.85"));
    assert.ok(error < 2e-5, `relative error ${error}`);
    const saved = JSON.parse(readFileSync(join(path, "mflux-depth.json"), "utf8")).loras;
    assert.deepEqual(
      saved.map(({ file, role, scale }: Record<string, unknown>) => [file, role, scale]),
      [["control-lora.safetensors", "depth", 0.85]],
    );
  });

  test("with the transformer in one file", async () => {
    const model = join(base, "transformer/diffusion_pytorch_model.safetensors");
    const found = await outputWith([control], { model, componentsFrom: "tiny-world" });
    const error = relativeError(found, expected("control-1"));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("on quantized weights", async () => {
    const error = relativeError(await outputWith([control], { quantize: 8 }), expected("control-1"));
    assert.ok(error < 2e-2, `relative error ${error}`);
  });

  test("in a whole generation", async () => {
    using flux = await FluxDepth.load({
      model: base,
      loras: [control],
      quantize: "none",
      dtype: "float32",
    });
    const { latents } = await flux.generate({
      ...goldenRequest,
      latents: values(adapterInput("noise")),
    });
    const error = relativeError(latents.data, expected("control-1.latents"));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });
});

describe("the depth LoRA as ComfyUI saves it", () => {
  /** As `convert_lora_bfl_control` of comfy/lora_convert.py names the tensors. */
  const inComfysNames = async (): Promise<string> => {
    const { arrays } = loadSafetensors(control);
    const named = [...arrays].map(([key, tensor]): [string, MxArray] => [
      `diffusion_model.${key.replace(/\.lora_B\.bias$/, ".diff_b").replace(/_norm\.scale$/, "_norm.scale.set_weight")}`,
      tensor,
    ]);
    const [rows, columns] = [
      arrays.get("img_in.lora_B.weight")!.shape[0]!,
      arrays.get("img_in.lora_A.weight")!.shape[1]!,
    ];
    const path = join(folder, "comfy.safetensors");
    const size = array(Int32Array.of(rows, columns));
    await saveSafetensors(path, new Map([...named, ["diffusion_model.img_in.reshape_weight", size]]));
    return path;
  };

  for (const scale of [1, 0.85])
    test(`gives what the original gives at ${scale}`, async () => {
      const found = await outputWith([{ source: await inComfysNames(), scale }]);
      const error = relativeError(found, expected(`control-${scale}`));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });
});

describe("the norms of the depth LoRA", () => {
  const rewritten = async (name: string, change: (norm: MxArray) => MxArray): Promise<string> => {
    const { arrays } = loadSafetensors(control);
    const path = join(folder, `${name}.safetensors`);
    const changed = [...arrays].map(([key, tensor]): [string, MxArray] => [
      key,
      key.endsWith("_norm.scale") ? change(tensor) : tensor,
    ]);
    await saveSafetensors(path, new Map(changed));
    return path;
  };

  test("are refused when they are not finite", async () => {
    const path = await rewritten("nan", (norm) => multiply(norm, Number.NaN));
    await assert.rejects(outputWith([path]), modelError(/_norm\.scale" has values that are not finite/));
  });

  test("are refused when they are integers", async () => {
    const path = await rewritten("integers", (norm) => astype(norm, "int32"));
    await assert.rejects(outputWith([path]), modelError(/belong to no layer of this model.*_norm\.scale/));
  });
});

describe("the strength of the depth", () => {
  test("changes from image to image", async () => {
    using flux = await FluxDepth.load({ model: base, loras: [control], dtype: "float32", int8: false });
    const whole = await flux.generate(smallRequest);
    const weaker = await flux.generate({ ...smallRequest, loraScales: [0.5] });
    assert.ok(relativeError(weaker.latents.data, whole.latents.data) > 1e-2);
  });
});

describe("the depth LoRA in a saved model's folder", () => {
  const loras = [{ source: control, scale: 0.85 }];
  const path = join(folder, "folder");
  const loadSaved = (more: LoadOptions = {}): Promise<FluxDepth> =>
    FluxDepth.load({ model: path, dtype: "float32", ...more });
  before(() => saveModel({ model: base, loras, quantize: 8, dtype: "float32", path }));

  test("gives the pixels that it gives on FLUX.1-dev, at any strength of either kind", async () => {
    using flux = await FluxDepth.load({ model: base, loras, quantize: 8, dtype: "float32" });
    using saved = await loadSaved();
    for (const change of [{}, { loraScales: [0.3] }, { depthStrength: 0.5 }]) {
      const request = { ...smallRequest, ...change };
      assert.equal(digest(await saved.generate(request)), digest(await flux.generate(request)));
    }
    assert.deepEqual(
      saved.loras.map(({ name, role }) => [name, role]),
      [["control-lora.safetensors", "depth"]],
    );
  });

  test("counts as much at another strength", async () => {
    using saved = await loadSaved();
    const [whole, weaker, flat] = [
      await saved.generate(smallRequest),
      await saved.generate({ ...smallRequest, depthStrength: 0.5 }),
      await saved.generate({ ...smallRequest, loraScales: [0] }),
    ];
    assert.equal(new Set([whole, weaker, flat].map(digest)).size, 3);
  });

  test("takes other LoRAs for FLUX.1-dev behind it", async () => {
    const style = { source: adapterFile("base-style"), scale: 0.5 };
    using flux = await FluxDepth.load({
      model: base,
      loras: [...loras, style],
      quantize: 8,
      dtype: "float32",
    });
    using saved = await loadSaved({ loras: [style] });
    assert.equal(digest(await saved.generate(smallRequest)), digest(await flux.generate(smallRequest)));
  });

  test("can be merged when the model is saved again, unless its weights are quantized", async () => {
    const dense = join(folder, "dense");
    const options = { quantize: "none", dtype: "float32" } as const;
    await saveModel({ model: base, loras, ...options, path: dense });
    await saveModel({ model: dense, bakeLora: true, ...options, path: `${dense}-merged` });
    const error = relativeError(await outputWith([], { model: `${dense}-merged` }), expected("control-0.85"));
    assert.ok(error < 2e-5, `relative error ${error}`);
    await assert.rejects(
      saveModel({ model: path, bakeLora: true, path: `${path}-merged` }),
      modelError(/is stored quantized, so a LoRA cannot be merged into it/),
    );
  });
});

describe("without the depth LoRA", () => {
  test("FLUX.1-dev is refused", async () => {
    await assert.rejects(
      FluxDepth.load({ model: base }),
      modelError(/this is FLUX\.1 dev or schnell, which takes no depth map/),
    );
  });
});

describe("the depth LoRA is refused", () => {
  test("on a model that takes a depth map itself", async () => {
    await assert.rejects(
      FluxDepth.load({ model: "tiny-world", loras: [control] }),
      modelError(
        /this model takes a depth map itself; the depth LoRA is for FLUX\.1-dev, so use one or the other/,
      ),
    );
  });
});
