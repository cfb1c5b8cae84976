import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { map } from "../support/connected.js";
import { type Data, execution, SocketHost, startWorker } from "../support/host.js";
import { etagOf, startHub, tiny } from "../support/hub.js";

const { hub, home, environment, end } = await startHub();
const worker = await startWorker({ ...environment, NODETOOL_WORKER_TOKEN: "" });
const host = await SocketHost.connect(worker.url);
after(async () => {
  host.drop();
  await worker.stop();
  await end();
});
beforeEach(() => hub.forget());

/** A repository with more files than a run needs. Like FLUX.1's own, it does not include Depth Pro. */
const files = {
  ...Object.fromEntries(Object.entries(tiny).filter(([path]) => !path.startsWith("depth_pro/"))),
  ".gitattributes": "text",
  "README.md": "About the model.",
  "ae.safetensors": Buffer.alloc(1e6, 1),
  "flux1-depth.safetensors": Buffer.alloc(5e6, 2),
};

/** The patterns that the host finds in the worker's metadata, and downloads by. */
const { nodes } = (await host.ask("discover")) as { nodes: { recommended_models: Data[] }[] };
const patterns = nodes[0]!.recommended_models[0]!.allow_patterns as string[];

/** NodeTool's own matching: `*` stops at a slash. */
const isAllowed = (path: string): boolean =>
  patterns.some((pattern) =>
    new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", "[^/]*")}$`).test(path),
  );

describe("the recommended model's patterns", () => {
  test("select the folders of a diffusers model, and no single-file checkpoint", () => {
    const folders = new Set(
      Object.keys(files)
        .filter(isAllowed)
        .map((path) => path.split("/")[0]),
    );
    assert.deepEqual([...folders].sort(), [
      "model_index.json",
      "scheduler",
      "text_encoder",
      "text_encoder_2",
      "tokenizer",
      "tokenizer_2",
      "transformer",
      "vae",
    ]);
  });

  test("download all that a run needs, when the worker downloads by them", async () => {
    hub.host("me/by-patterns", files);
    const request = { repo_id: "me/by-patterns", allow_patterns: patterns };
    assert.equal((await host.ask("models.download", request)).status, "completed");
    assert.ok(hub.resolved().every(isAllowed));
  });

  test("serve a run whose model value carries them", async () => {
    hub.host("me/selected", files);
    const model = { type: "hf.flux_depth", repo_id: "me/selected", path: null, allow_patterns: patterns };
    await host.ask("execute", execution({ model, steps: 1 }, { blobs: { depth_image: map } }));
    assert.ok(hub.resolved().every(isAllowed));
  });
});

test("a run uses the weights that NodeTool has downloaded into the shared cache", async () => {
  hub.host("me/hosted", files);
  const repository = join(home, "hub", "models--me--hosted");
  // NodeTool names a file's snapshot by the last commit that touched the file, and keeps no reference to main.
  for (const [path, bytes] of Object.entries(files).filter(([name]) => isAllowed(name))) {
    const blob = join(repository, "blobs", etagOf(path, bytes as Buffer));
    const commit = path.endsWith(".safetensors") ? "a".repeat(40) : "b".repeat(40);
    const pointer = join(repository, "snapshots", commit, path);
    for (const file of [blob, pointer]) mkdirSync(dirname(file), { recursive: true });
    writeFileSync(blob, bytes);
    symlinkSync(relative(dirname(pointer), blob), pointer);
  }
  const model = { type: "hf.flux_depth", repo_id: "me/hosted" };
  await host.ask("execute", execution({ model, steps: 1 }, { blobs: { depth_image: map } }));
  assert.deepEqual(hub.resolved(), []);
});
