import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parametersIn } from "mflux-depth/images";
import type { JobObject, ModelObject } from "../../src/contract/index.js";
import { hashOfPixels } from "../support/png.js";
import { bin, errorOf, jobBody, TestServer, temporaryFolder } from "../support/server.js";

const file = fileURLToPath(
  import.meta.resolve("../../../../mflux-depth/test/golden/adapters/diffusers.safetensors"),
);
const inked = join(temporaryFolder(), "inked");
await promisify(execFile)(process.execPath, [
  ...[bin, "save", "--model", "tiny-world", "-q", "none", "--lora", file, "0.8"],
  ...["--path", inked, "--quiet"],
]);
const server = await TestServer.start({
  argv: ["--allow-model", `ink=${file}`, "--allow-model", `inked=${inked}`],
});

interface Made {
  readonly pixels: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The image of a small job with these LoRAs. */
async function made(load: object, request: object = {}): Promise<Made> {
  const { id } = await server.submit({ load, request: { steps: 1, ...request } });
  const job: JobObject = await server.finished(id);
  assert.equal(job.state, "succeeded", job.error?.message);
  const png = new Uint8Array(await (await server.fetch(`/v1/jobs/${id}/image`)).arrayBuffer());
  return { pixels: hashOfPixels(png), parameters: (await parametersIn(png))! };
}

const ink = (scale: number): object => ({ loras: [{ source: "ink", scale }] });

describe("a LoRA that the server offers", () => {
  test("changes the image, which names it by its public name, scale and hash", async () => {
    const [plain, styled] = [await made({}), await made(ink(0.8))];
    assert.notEqual(styled.pixels, plain.pixels);
    assert.deepEqual(styled.parameters.lora_scales, [0.8]);
    assert.deepEqual(styled.parameters.lora_sha256, [
      createHash("sha256").update(readFileSync(file)).digest("hex"),
    ]);
    assert.doesNotMatch(JSON.stringify(styled.parameters), /\/golden\//);
  });

  test("has another strength in one request", async () => {
    const weaker = await made(ink(1), { lora_scales: [0] });
    assert.deepEqual(weaker.parameters.lora_scales, [0]);
    assert.equal(weaker.pixels, (await made({})).pixels);
  });

  test("is listed with its size", async () => {
    const { data } = (await (await server.fetch("/v1/models")).json()) as { data: ModelObject[] };
    const { ready, bytes } = data.find(({ id }) => id === "ink")!;
    assert.deepEqual([ready, bytes], [true, statSync(file).size]);
  });
});

describe("a LoRA in a model's own folder", () => {
  const modelAt = async (name: string): Promise<ModelObject> => {
    const { data } = (await (await server.fetch("/v1/models")).json()) as { data: ModelObject[] };
    return data.find(({ id }) => id === name)!;
  };

  test("is listed with the model, with its scale", async () => {
    assert.deepEqual((await modelAt("inked")).saved_loras, [{ name: "diffusers.safetensors", scale: 0.8 }]);
    assert.deepEqual((await modelAt("tiny-world")).saved_loras, []);
  });

  test("counts as in the folder, or as a request says", async () => {
    const [own, weaker] = [
      await made({ model: "inked" }),
      await made({ model: "inked" }, { lora_scales: [0.3] }),
    ];
    assert.deepEqual([own.parameters.lora_scales, weaker.parameters.lora_scales], [[0.8], [0.3]]);
    assert.equal(own.pixels, (await made(ink(0.8))).pixels);
    assert.equal(weaker.pixels, (await made(ink(0.3))).pixels);
  });

  test("comes first in the scales of a request with more LoRAs", async () => {
    const both = await made({ model: "inked", ...ink(1) }, { lora_scales: [0.5, 0] });
    assert.deepEqual(both.parameters.lora_scales, [0.5, 0]);
    assert.equal(both.pixels, (await made(ink(0.5))).pixels);
  });
});

describe("is refused:", () => {
  const refusal = async (load: object, request: object = {}) => {
    const body = jobBody({ load, request });
    const { status, error } = await errorOf(await server.send("POST", "/v1/jobs", body));
    return [status, error.code, error.param];
  };

  test("a LoRA that the server does not offer", async () => {
    const load = { loras: [{ source: "someone/other" }] };
    assert.deepEqual(await refusal(load), [404, "model_not_found", "load.loras"]);
  });

  test("a number of scales that differs from the number of LoRAs", async () => {
    const request = { lora_scales: [1, 2] };
    assert.deepEqual(await refusal(ink(1), request), [400, "option_conflict", "request.lora_scales"]);
  });

  test("a scale for each LoRA but those in the model's folder", async () => {
    const body = jobBody({ load: { model: "inked", ...ink(1) }, request: { lora_scales: [1] } });
    const { status, error } = await errorOf(await server.send("POST", "/v1/jobs", body));
    assert.deepEqual([status, error.code, error.param], [400, "option_conflict", "request.lora_scales"]);
    assert.match(
      error.message,
      /each LoRA \(2\), not 1; the first belong to the model: diffusers\.safetensors/,
    );
  });
});
