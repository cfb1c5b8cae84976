import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Family } from "../../src/families/family.js";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import type { GenerateRequest } from "../../src/index.js";
import { resolveLoadOptions, resolveRequest } from "../../src/options/index.js";
import { LastArtifact } from "../../src/pipeline/last-artifact.js";
import { latentGridOf } from "../../src/pipeline/latent-grid.js";
import { EstimatorSource } from "../../src/pipeline/model/estimator-source.js";
import { type Model, openModel } from "../../src/pipeline/model/model.js";
import { noiseLevelsOf } from "../../src/pipeline/noise-levels.js";
import { planGeneration, workloadOf } from "../../src/pipeline/plan.js";
import { FastPreviews } from "../../src/pipeline/previews/fast-previews.js";
import { PromptCache } from "../../src/pipeline/prompt-cache.js";
import { stagesOf } from "../../src/pipeline/recipe.js";
import { runRecipe } from "../../src/pipeline/runner.js";
import { ModelTensors } from "../../src/pipeline/saving/save-weights.js";
import { setUp } from "../../src/pipeline/setup.js";
import type { Artifacts } from "../../src/pipeline/stage.js";
import { evenlySpaced, rearranged, writeRearranged } from "../support/rearranged-family.js";
import { bundled, inMemory, smallRequest } from "../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "second-family-"));
before(() => writeRearranged(folder));
after(() => rmSync(folder, { recursive: true }));

const options = resolveLoadOptions({ model: "tiny-world", quantize: "none", dtype: "float32" });

function open(family: Family): Model {
  const location = family === flux1Depth ? bundled : folder;
  const files = { family, folder: location, configs: location, original: null, storedBits: null };
  return openModel({ ...files, notes: [], origin: null, denoiser: null }, options, "cpu");
}

/** A request that leaves nothing to a family's defaults. */
const request: GenerateRequest = { ...smallRequest, guidance: 10 };

interface Generated {
  readonly pixels: Uint8Array;
  readonly sigmas: readonly number[];
}

/** Generates with a model of a family, by the recipe that FluxDepth follows. */
async function generate(family: Family, given: GenerateRequest = request): Promise<Generated> {
  const model = open(family);
  const resolved = resolveRequest(given, family.defaults);
  const grid = latentGridOf(resolved, model);
  const { signal } = new AbortController();
  using prompts = new PromptCache();
  using controls = new LastArtifact<Artifacts["control"]>();
  const repository = { name: "tiny-world", folder: bundled, revision: undefined };
  const estimators = new EstimatorSource(repository, { depthQuantize: "none", offline: true });
  const generation = await setUp(
    {
      request: resolved,
      grid,
      noiseLevels: noiseLevelsOf(resolved, grid, model),
      previewEvery: 0,
      previewKind: "exact",
      withLatents: false,
      resume: null,
      signal,
    },
    { model, options, estimators, prompts, controls, fastPreviews: new FastPreviews(), notes: [] },
  );
  const running = runRecipe(stagesOf(generation.workload), generation, "low");
  const sigmas: number[] = [];
  for (;;) {
    const next = await running.next();
    if (next.done) return { pixels: next.value.decoded.image.data, sigmas };
    if (next.value.type === "step") sigmas.push(next.value.sigma);
  }
}

describe("a family with other components, packing and joining of the control latents", () => {
  test("gives the image of the family whose numbers it has", async () => {
    const { pixels } = await generate(rearranged);
    assert.deepEqual(pixels, (await generate(flux1Depth)).pixels);
  });

  test("also gives the same image from a photo", async () => {
    const withPhoto = { ...request, image: request.depthImage, imageStrength: 0.4, steps: 4 };
    const { pixels } = await generate(rearranged, withPhoto);
    assert.deepEqual(pixels, (await generate(flux1Depth, withPhoto)).pixels);
  });

  test("leaves nothing in memory", async () => {
    const before = inMemory();
    await generate(rearranged);
    assert.deepEqual(inMemory(), before);
  });

  test("is planned with the same memory", () => {
    const workload = workloadOf(resolveRequest(request), { estimatesDepth: false });
    const machine = { total: 64e9, available: 64e9, source: "memory" } as const;
    const planOf = (family: Family) =>
      planGeneration(open(family), workload, { policy: "low", estimator: null, machine });
    assert.deepEqual(planOf(rearranged), planOf(flux1Depth));
  });

  test("is saved with the same number of bytes", async () => {
    using theirs = await ModelTensors.of(open(rearranged), new AbortController().signal);
    using ours = await ModelTensors.of(open(flux1Depth), new AbortController().signal);
    assert.equal(theirs.bytes, ours.bytes);
  });
});

describe("a family with its own schedule and defaults", () => {
  test("denoises through its own noise levels", async () => {
    const { sigmas, pixels } = await generate(evenlySpaced, { ...request, steps: 4 });
    assert.deepEqual(sigmas, [1, 0.75, 0.5, 0.25]);
    assert.notDeepEqual(pixels, (await generate(flux1Depth, { ...request, steps: 4 })).pixels);
  });

  test("fills in its defaults where the request has no value", () => {
    const { prompt, depthImage } = smallRequest;
    const asked = resolveRequest({ prompt, depthImage, steps: undefined, guidance: 7 }, rearranged.defaults);
    const { steps, guidance, width, height } = asked;
    assert.deepEqual({ steps, guidance, width, height }, { steps: 3, guidance: 7, width: 64, height: 96 });
  });
});
