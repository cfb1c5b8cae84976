import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { kindFor } from "../../../src/families/kinds.js";
import {
  fileInRepository,
  findFile,
  isCheckpointFile,
} from "../../../src/pipeline/model/single-file-source.js";
import { full, HubFixture, impatient, modelError, repository } from "../../support/hub-fixture.js";
import { oneFile } from "../../support/one-file.js";

describe("a model in one file", () => {
  const fixture = new HubFixture();
  const find = (source: string, options: { offline?: boolean; revision?: string } = {}) =>
    findFile(source, { env: fixture.environment, patience: impatient, ...options });

  test("is a path, or a repository and a file", () => {
    assert.equal(isCheckpointFile(oneFile("bfl.safetensors")), true);
    assert.equal(isCheckpointFile("owner/name:x.safetensors"), true);
    for (const other of [
      "tiny-world",
      "owner/name",
      "owner/name:",
      "/tmp",
      "C:\\x.safetensors",
      "missing.safetensors",
    ])
      assert.equal(isCheckpointFile(other), false, other);
    assert.deepEqual(fileInRepository("owner/name:a/b.gguf"), { repository: "owner/name", file: "a/b.gguf" });
  });

  test("is downloaded alone, and found in the cache from then on", async () => {
    const commit = fixture.hub.host(repository, full);
    const found = await find(`${repository}:flux1-depth-dev.safetensors`);
    assert.deepEqual(readFileSync(found.path), full["flux1-depth-dev.safetensors"]);
    assert.equal(found.revision, commit);
    assert.deepEqual(fixture.hub.resolved(), ["flux1-depth-dev.safetensors"]);
    fixture.hub.forget();
    assert.deepEqual(await find(`${repository}:flux1-depth-dev.safetensors`, { offline: true }), found);
    assert.deepEqual(fixture.hub.asked, []);
  });

  test("leaves the transformer's weights out of the other components", async () => {
    fixture.hub.host(repository, full);
    await fixture.obtain({}, { kind: kindFor.components });
    const fetched = fixture.hub.resolved();
    assert.ok(fetched.includes("vae/diffusion_pytorch_model.safetensors"));
    assert.ok(fetched.includes("transformer/config.json"));
    assert.ok(!fetched.some((file) => /^transformer\/.*safetensors$/.test(file)));
    fixture.hub.forget();
    await fixture.obtain({}, { kind: kindFor.components, offline: true });
    assert.deepEqual(fixture.hub.asked, []);
  });

  test("that a repository lacks is refused", async () => {
    fixture.hub.host(repository, full);
    await assert.rejects(
      find(`${repository}:missing.safetensors`),
      modelError(/needs missing\.safetensors, which the repository lacks/),
    );
    await assert.rejects(find(`${repository}:../x`), modelError(/leads out of the repository/));
    await assert.rejects(find("missing.safetensors"), modelError(/there is no such file/));
  });
});
