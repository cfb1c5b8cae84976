import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, describe, test } from "node:test";
import { findLora } from "../../../src/pipeline/model/lora-source.js";
import { adapterFile } from "../../support/adapters.js";
import { HubFixture, modelError } from "../../support/hub-fixture.js";

const root = mkdtempSync(join(tmpdir(), "mflux-depth-lora-source-"));
after(() => rmSync(root, { recursive: true, force: true }));

const style = adapterFile("diffusers");
const bytes = readFileSync(style);
const sha256 = createHash("sha256").update(bytes).digest("hex");

let count = 0;
/** A new folder with copies of a LoRA under these names. */
function folderWith(...names: string[]): string {
  const folder = join(root, `${count++}`);
  mkdirSync(folder);
  for (const name of names) copyFileSync(style, join(folder, name));
  return folder;
}

describe("a LoRA on this machine", () => {
  test("is a file", async () => {
    assert.deepEqual(await findLora(style, {}), {
      name: "diffusers.safetensors",
      path: style,
      revision: null,
      sha256,
    });
  });

  test("is the only safetensors file of a folder, or the one with a usual name", async () => {
    const alone = folderWith("style.safetensors");
    assert.equal((await findLora(alone, {})).path, join(alone, "style.safetensors"));
    assert.equal((await findLora(alone, {})).name, basename(alone));
    const usual = folderWith("other.safetensors", "pytorch_lora_weights.safetensors");
    assert.equal((await findLora(usual, {})).path, join(usual, "pytorch_lora_weights.safetensors"));
  });

  test("has another hash when the file has changed", async () => {
    const folder = folderWith("style.safetensors");
    await findLora(folder, {});
    writeFileSync(join(folder, "style.safetensors"), "changed");
    const changed = createHash("sha256").update("changed").digest("hex");
    assert.equal((await findLora(folder, {})).sha256, changed);
  });

  test("must be named if a folder has several", async () => {
    const folder = folderWith("a.safetensors", "b.safetensors");
    await assert.rejects(
      findLora(folder, {}),
      modelError(/there are 2 safetensors files; name one of them: .*a\.safetensors, .*b\.safetensors/),
    );
  });

  test("is refused in another format, with what was expected", async () => {
    const path = join(folderWith(), "style.gguf");
    writeFileSync(path, "");
    await assert.rejects(
      findLora(path, {}),
      modelError(/expected a LoRA in a file whose name ends in \.safetensors/),
    );
  });

  test("is never a pickle file", async () => {
    const folder = folderWith();
    const path = join(folder, "style.bin");
    writeFileSync(path, "");
    await assert.rejects(findLora(path, {}), modelError(/is a pickle file, which can run code/));
  });

  test("that does not exist is refused", async () => {
    await assert.rejects(
      findLora("missing.safetensors", {}),
      modelError(/there is no such file or folder, and it is not the name of a repository/),
    );
  });
});

describe("a LoRA on the Hub", () => {
  const fixture = new HubFixture();
  const repository = "someone/style";
  const find = (source: string, offline = false) => findLora(source, { env: fixture.environment, offline });

  test("is downloaded alone, and found in the cache from then on", async () => {
    const commit = fixture.hub.host(repository, {
      "README.md": "Read me",
      "style.safetensors": bytes,
      "style.png": "picture",
    });
    const found = await find(repository);
    assert.deepEqual(readFileSync(found.path), bytes);
    assert.deepEqual({ ...found, path: "" }, { name: repository, path: "", revision: commit, sha256 });
    assert.deepEqual(fixture.hub.resolved(), ["style.safetensors"]);
    fixture.hub.forget();
    assert.deepEqual(await find(repository), found);
    assert.deepEqual(await find(repository, true), found);
    assert.deepEqual(fixture.hub.asked, []);
  });

  test("is named after a colon if there are several", async () => {
    fixture.hub.host(repository, { "a.safetensors": "other", "more/b.safetensors": bytes });
    const found = await find(`${repository}:more/b.safetensors`);
    assert.equal(found.sha256, sha256);
    assert.equal(found.name, `${repository}:more/b.safetensors`);
    assert.deepEqual(fixture.hub.resolved(), ["more/b.safetensors"]);
  });

  test("must be named if there are several", async () => {
    fixture.hub.host(repository, { "a.safetensors": "other", "b.safetensors": bytes });
    await assert.rejects(
      find(repository),
      modelError(/name one of them: someone\/style:a\.safetensors, someone\/style:b\.safetensors/),
    );
    assert.deepEqual(fixture.hub.resolved(), []);
  });

  test("comes with PEFT's config", async () => {
    fixture.hub.host(repository, { "adapter_config.json": "{}", "adapter_model.safetensors": bytes });
    await find(repository);
    assert.deepEqual(fixture.hub.resolved().sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  });

  test("comes with PEFT's config, even from a folder of a repository", async () => {
    fixture.hub.host(repository, {
      "more/adapter_config.json": "{}",
      "more/adapter_model.safetensors": bytes,
      "adapter_config.json": "{}",
    });
    const { path } = await find(`${repository}:more/adapter_model.safetensors`);
    assert.deepEqual(fixture.hub.resolved().sort(), [
      "more/adapter_config.json",
      "more/adapter_model.safetensors",
    ]);
    assert.equal(readFileSync(join(path, "../adapter_config.json"), "utf8"), "{}");
  });

  test("that the repository lacks is refused", async () => {
    fixture.hub.host(repository, { "a.safetensors": bytes });
    await assert.rejects(
      find(`${repository}:b.safetensors`),
      modelError(/this request needs b\.safetensors, which the repository lacks/),
    );
  });

  test("that is not here is refused offline", async () => {
    await assert.rejects(find(repository, true), modelError(/, and this request downloads nothing$/));
  });

  test("cannot lead out of its repository", async () => {
    await assert.rejects(find(`${repository}:../x.safetensors`), modelError(/leads out of the repository/));
  });
});
