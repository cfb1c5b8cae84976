import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { kindFor } from "../../src/families/kinds.js";
import {
  assertComplete,
  full,
  HubFixture,
  json,
  modelError,
  needed,
  repository,
  weights,
} from "../support/hub-fixture.js";
import { type Files, newCommit } from "../support/hub-server.js";

const fixture = new HubFixture();
const obtain: HubFixture["obtain"] = (source, options) => fixture.obtain(source, options);
const host = (files: Files): string => fixture.hub.host(repository, files);

/** Asserts that no weights have been requested. */
const assertNoWeights = (): void =>
  assert.ok(!fixture.hub.resolved().some((file) => file.endsWith(".safetensors")));

describe("obtainRepository", () => {
  test("uses a complete model in the cache, even if the Hub has a newer one", async () => {
    const commit = host(full);
    await obtain();
    host({ ...full, "vae/config.json": "{}" });
    fixture.hub.forget();
    assert.equal((await obtain()).revision, commit);
    assert.equal((await obtain({ revision: commit })).revision, commit);
    assert.deepEqual(fixture.hub.asked, []);
  });

  test("downloads only the files in which another revision differs", async () => {
    host(full);
    await obtain();
    const files: Files = { ...full, "vae/config.json": json({ latent_channels: 16, new: 1 }) };
    const commit = newCommit();
    const hosted = fixture.hub.repositories[repository]!;
    hosted.commits[commit] = files;
    hosted.refs["refs/pr/1"] = commit;
    fixture.hub.forget();
    const found = await obtain({ revision: "refs/pr/1" });
    assert.equal(found.revision, commit);
    assertComplete(found, { ...needed, "vae/config.json": files["vae/config.json"]! });
    assert.deepEqual(fixture.hub.resolved(), ["vae/config.json"]);
    assert.equal(readFileSync(join(fixture.root, "refs", "refs/pr/1"), "utf8"), commit);
  });

  test("finds a model that was downloaded by commit, without a reference", async () => {
    const commit = host(full);
    await obtain({ revision: commit });
    assert.equal(existsSync(join(fixture.root, "refs")), false);
    assert.equal((await obtain({}, { offline: true })).revision, commit);
  });

  test("downloads Depth Pro, and nothing else of its repository", async () => {
    const depthPro: Files = {
      "config.json": json({ model_type: "depth_pro" }),
      "model.safetensors": weights(5_000, 3),
      "preprocessor_config.json": "{}",
    };
    host({ ...depthPro, "README.md": "x", "depth_pro.pt": "x", "onnx/model.onnx": "x" });
    const found = await obtain({}, { kind: kindFor.depth });
    assertComplete(found, depthPro);
    assert.deepEqual(await obtain({}, { kind: kindFor.depth, offline: true }), found);
  });
});

describe("the path of a model", () => {
  test("is a folder of the repository", async () => {
    const inside = Object.fromEntries(
      Object.entries(needed).map(([file, bytes]) => [`small/q4/${file}`, bytes]),
    );
    const commit = host({ "README.md": "x", ...inside });
    const found = await obtain({ path: "small/q4" });
    assert.equal(found.folder, join(fixture.root, "snapshots", commit, "small/q4"));
    assertComplete(found);
  });

  test("cannot lead out of the repository", async () => {
    host(full);
    await assert.rejects(obtain({ path: "../.." }), modelError(/leads out of the repository/));
  });

  test("cannot be a checkpoint in one file", async () => {
    host(full);
    await assert.rejects(obtain({ path: "flux1-depth-dev.safetensors" }), modelError(/one file/));
  });
});

describe("without downloads", () => {
  const offline = (): NodeJS.ProcessEnv => ({ ...fixture.environment, HF_HUB_OFFLINE: "1" });

  test("a model that is not in the cache is refused", async () => {
    host(full);
    await assert.rejects(
      obtain({}, { env: offline() }),
      modelError(/neither a folder nor, at revision main, in .*HF_HUB_OFFLINE is set/),
    );
    await assert.rejects(obtain({}, { offline: true }), modelError(/, and this request downloads nothing$/));
  });

  test("the missing files of an incomplete model are listed", async () => {
    host(full);
    const { folder } = await obtain();
    await rm(join(folder, "vae/config.json"));
    await rm(join(folder, "text_encoder_2/model-00002-of-00002.safetensors"));
    await rm(join(folder, "tokenizer"), { recursive: true });
    await assert.rejects(
      obtain({}, { env: offline() }),
      modelError(
        /revision main is incomplete in .*: vae\/config\.json, tokenizer\/vocab\.json, tokenizer\/merges\.txt, tokenizer\/tokenizer_config\.json, text_encoder_2\/model-00002-of-00002\.safetensors missing, and downloads are off/,
      ),
    );
  });
});

describe("another kind of model", () => {
  const transformerWith = (channels: number): Files => ({
    ...full,
    "transformer/config.json": json({ _class_name: "FluxTransformer2DModel", in_channels: channels }),
  });
  const redux = {
    "model_index.json": json({ _class_name: "FluxPriorReduxPipeline" }),
    "image_embedder/model.safetensors": "x",
  };
  for (const [what, files, message, model = repository] of [
    ["FLUX.1 dev", transformerWith(64), /FLUX\.1 dev or schnell, which takes no depth map/],
    ["FLUX.1 Fill", transformerWith(384), /FLUX\.1 Fill, which takes a mask/],
    ["FLUX.1 Redux", redux, /FLUX\.1 Redux, which varies images/],
    ["FLUX.1 Canny", full, /FLUX\.1 Canny, which takes an edge map/, "someone/FLUX.1-Canny-dev"],
    [
      "Depth Pro",
      { "config.json": json({ model_type: "depth_pro" }), "model.safetensors": "x" },
      /this is Depth Pro/,
    ],
    [
      "Stable Diffusion",
      { ...full, "model_index.json": json({ _class_name: "StableDiffusionPipeline" }) },
      /StableDiffusionPipeline, not for FLUX/,
    ],
    [
      "one checkpoint file",
      { "flux1-depth-dev.safetensors": "x", "README.md": "x" },
      /needs model_index\.json, which the repository lacks/,
    ],
  ] as const)
    test(`is identified before its weights are downloaded: ${what}`, async () => {
      fixture.hub.host(model, files);
      await assert.rejects(obtain({ model }), modelError(message));
      assertNoWeights();
    });

  for (const [what, files, message] of [
    ["a diffusion model", full, /repository of a diffusion model; expected a depth estimator/],
    [
      "another estimator",
      { "config.json": json({ model_type: "dpt" }), "model.safetensors": "x" },
      /a model of type dpt; expected a depth estimator/,
    ],
  ] as const)
    test(`is refused as Depth Pro before its weights are downloaded: ${what}`, async () => {
      host(files);
      await assert.rejects(obtain({}, { kind: kindFor.depth }), modelError(message));
      assertNoWeights();
    });
});
