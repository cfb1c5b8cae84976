import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { anyOf } from "../../src/families/any-kind.js";
import { familyDescriptions } from "../../src/families/descriptions.js";
import { kindFor } from "../../src/families/kinds.js";
import {
  assertComplete,
  full,
  HubFixture,
  json,
  modelError,
  needed,
  repository,
} from "../support/hub-fixture.js";
import { otherKind, otherPipeline } from "../support/other-family.js";

const fixture = new HubFixture();
const [{ kind: fluxKind }] = familyDescriptions;
const either = anyOf([fluxKind, otherKind]);

const index = (pipeline: string): string => json({ _class_name: pipeline });
const extra = { "other/config.json": "{}", "other/model.safetensors": "x" };
/** A repository with the files of both families; its pipeline says which it is. */
const withFilesOfBoth = { ...full, ...extra };

describe("anyOf downloads", () => {
  test("a model of the first family", async () => {
    fixture.hub.host(repository, full);
    assertComplete(await fixture.obtain({}, { kind: either }));
  });

  test("a model of another family by its file names", async () => {
    const files = {
      "model_index.json": index(otherPipeline),
      "transformer/model.safetensors": "x",
      ...extra,
    };
    fixture.hub.host(repository, files);
    assertComplete(await fixture.obtain({}, { kind: either }), files);
  });

  test("the weights of the family that the small files name", async () => {
    fixture.hub.host(repository, { ...withFilesOfBoth, "model_index.json": index(otherPipeline) });
    await fixture.obtain({}, { kind: either });
    const paths = fixture.hub.asked.map(({ path }) => path);
    assert.ok(paths.some((path) => path.endsWith("other/model.safetensors")));
    assert.ok(!paths.some((path) => path.endsWith("text_encoder/model.safetensors")));
  });

  test("no weights of a second family for a model of the first", async () => {
    fixture.hub.host(repository, withFilesOfBoth);
    await fixture.obtain({}, { kind: either });
    assert.ok(!fixture.hub.asked.some(({ path }) => path.endsWith("other/model.safetensors")));
  });
});

describe("anyOf uses the cache", () => {
  for (const pipeline of ["FluxControlPipeline", otherPipeline])
    test(`for a complete ${pipeline}`, async () => {
      fixture.hub.host(repository, { ...withFilesOfBoth, "model_index.json": index(pipeline) });
      const downloaded = await fixture.obtain({}, { kind: either });
      assert.deepEqual(await fixture.obtain({}, { kind: either, offline: true }), downloaded);
    });
});

describe("anyOf refuses a model of no family", () => {
  const files = { ...needed, "model_index.json": index("StableDiffusionPipeline") };

  test("with the reason of the first family", async () => {
    fixture.hub.host(repository, files);
    await assert.rejects(
      fixture.obtain({}, { kind: either }),
      modelError(/StableDiffusionPipeline, not for FLUX/),
    );
  });

  test("by the repository's name", async () => {
    fixture.hub.host(repository, files);
    await assert.rejects(fixture.obtain({}, { kind: either }), { source: repository });
  });
});

describe("anyOf", () => {
  test("accepts a name that one family accepts", () => either.checkName!("someone/FLUX.1-Canny-dev"));

  test("refuses a name that no family accepts", () =>
    assert.throws(
      () => kindFor.generation.checkName!("someone/FLUX.1-Canny-dev"),
      modelError(/FLUX\.1 Canny/),
    ));

  test("insists on the folders that every family needs", () =>
    assert.deepEqual(either.folders, ["transformer"]));

  test("names every family", () => assert.equal(either.name, "FLUX.1 Depth or Other"));
});
