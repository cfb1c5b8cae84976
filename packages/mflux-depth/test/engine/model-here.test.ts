import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { modelHere } from "../../src/engine/model-here.js";

const root = mkdtempSync(join(tmpdir(), "model-here-"));
after(() => rmSync(root, { recursive: true }));

function write(name: string, content = "12345"): string {
  const file = join(root, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

const commit = "0".repeat(40);
write("hub/models--them--style/refs/main", commit);
write(`hub/models--them--style/snapshots/${commit}/style.safetensors`);
write(`hub/models--them--style/snapshots/${commit}/README.md`, "");
write("hub/models--them--styles/refs/main", commit);
for (const name of ["one", "two"]) write(`hub/models--them--styles/snapshots/${commit}/${name}.safetensors`);
const env = { HF_HUB_CACHE: join(root, "hub") };

describe("a LoRA on this machine is told from a model", () => {
  for (const [what, source] of [
    ["as a file", write("a.safetensors")],
    ["as a folder with one", dirname(write("folder/adapter_model.safetensors"))],
    ["as a repository", "them/style"],
    ["as a file of a repository", "them/styles:two.safetensors"],
  ] as const)
    test(what, async () => {
      const { ready, lora } = await modelHere(source, env);
      assert.deepEqual({ ready, lora }, { ready: true, lora: true });
    });

  for (const [what, source] of [
    ["a model that is one folder", dirname(write("model/model.safetensors"))],
    ["the bundled model", "tiny-world"],
    ["a repository of several LoRAs", "them/styles"],
    ["a repository that is not here", "them/nothing"],
    ["a file of a repository that is not here", "them/style:other.safetensors"],
  ] as const)
    test(`unlike ${what}`, async () => {
      write("model/config.json", "{}");
      assert.equal((await modelHere(source, env)).lora, false);
    });
});
