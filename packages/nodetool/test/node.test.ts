import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { definition } from "../src/definition.js";
import { MFluxDepth, type NodeContext, nodeClass, type PropertyOptions, register } from "../src/node.js";
import { examples } from "./support/host.js";

// The test Hub of the package that downloads, and a cache; the engine's process inherits both.
const { HubServer } = (await import(
  new URL("../../../mflux-depth/dist/test/support/hub-server.js", import.meta.url).href
)) as typeof import("../../mflux-depth/test/support/hub-server.js");
const hub = await HubServer.start();
const home = mkdtempSync(join(tmpdir(), "hf-"));
Object.assign(process.env, {
  HF_HOME: home,
  HF_HUB_CACHE: "",
  HF_ENDPOINT: hub.endpoint,
  HF_HUB_OFFLINE: "0",
  HF_TOKEN: "",
});
after(async () => {
  await hub[Symbol.asyncDispose]();
  rmSync(home, { recursive: true });
});

/** The parts of the SDK's base class that the node uses. */
class BaseNode {
  static readonly declared = new Map<object, Map<string, PropertyOptions>>();
  __node_id = "";
  constructor(properties: Record<string, unknown> = {}) {
    this.assign(properties);
  }
  assign(properties: Record<string, unknown>): void {
    for (const [name, options] of BaseNode.declared.get(this.constructor) ?? [])
      Reflect.set(this, name, properties[name] ?? Reflect.get(this, name) ?? options.default);
  }
  serialize(): Record<string, unknown> {
    const names = [...(BaseNode.declared.get(this.constructor) ?? new Map()).keys()];
    return Object.fromEntries(names.map((name) => [name, Reflect.get(this, name)]));
  }
}
const sdk = {
  BaseNode,
  registerDeclaredProperty(owner: object, name: string, options: PropertyOptions): void {
    const properties = BaseNode.declared.get(owner) ?? new Map();
    BaseNode.declared.set(owner, properties.set(name, options));
  },
};

test("the node declares the definition's properties on the SDK's base class", () => {
  const node = nodeClass(sdk);
  assert.equal(node.nodeType, definition.node_type);
  const declared = BaseNode.declared.get(node)!;
  assert.deepEqual(
    [...declared.keys()],
    definition.properties.map(({ name }) => name),
  );
  assert.deepEqual(declared.get("quantize"), {
    type: "enum",
    default: 4,
    title: "Quantize",
    description: "Optional quantization level for model weights (reduces memory usage).",
    values: [3, 4, 5, 6, 8],
  });
  assert.deepEqual([declared.get("steps")?.min, declared.get("steps")?.max], [1, 50]);
  assert.equal(new node({ steps: 3 }).serialize().steps, 3);
});

test("the node registers on a base of its own without the SDK", async () => {
  const registered: unknown[] = [];
  await register({ register: (node) => registered.push(node) });
  assert.deepEqual(registered, [MFluxDepth]);
  const node = new MFluxDepth({ quantize: null });
  assert.equal(node.serialize().quantize, null);
  node.assign({ steps: 3 });
  assert.deepEqual([node.serialize().quantize, node.serialize().steps], [null, 3]);
});

test("the node reads images from the host's storage, and reports progress and warnings to it", async () => {
  const map = await readFile(new URL("chelsea.jpg", examples));
  const messages: Record<string, unknown>[] = [];
  const context: NodeContext = {
    workflowId: "w1",
    resolveAssetBytes: async () => ({ bytes: null }),
    storage: { retrieve: async (uri) => (uri === "memory://map" ? map : null) },
    postMessage: (message) => messages.push(message),
  };
  const node = new MFluxDepth({
    prompt: "a red cube",
    depth_image: { type: "image", uri: "memory://map" },
    model: { type: "hf.flux_depth", repo_id: "tiny-world" },
    quantize: null,
    width: 256,
    height: 256,
    steps: 2,
  });
  node.__node_id = "n1";
  const { output } = (await node.process(context)) as {
    output: { type: string; data: string; mimeType: string; metadata: { warnings: string[] } };
  };
  assert.deepEqual([output.type, output.mimeType], ["image", "image/png"]);
  const { width, height } = await sharp(Buffer.from(output.data, "base64")).metadata();
  assert.deepEqual([width, height], [256, 256]);
  assert.deepEqual(
    messages.filter(({ type, progress }) => type !== "log_update" && progress !== 0),
    [1, 2].map((progress) => ({
      type: "node_progress",
      node_id: "n1",
      progress,
      total: 2,
      workflow_id: "w1",
    })),
  );
  const [warning] = output.metadata.warnings;
  assert.match(warning ?? "", /in colour, but a depth map is grey/);
  assert.deepEqual(
    messages.filter(({ type }) => type === "log_update"),
    [{ type: "log_update", node_id: "n1", node_name: "MFlux Depth", content: warning, severity: "warning" }],
  );
  const lost = new MFluxDepth({ depth_image: { type: "image", uri: "memory://gone" } });
  await assert.rejects(lost.process(context), /depth_image could not be loaded/);
});

test("the node downloads a missing model, with megabytes as progress", async () => {
  const bundled = fileURLToPath(new URL("../../../mflux-depth/models/tiny-world", import.meta.url));
  const files = readdirSync(bundled, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  hub.host(
    "me/tiny",
    Object.fromEntries(files.map((path) => [path.slice(bundled.length + 1), readFileSync(path)])),
  );
  const messages: Record<string, unknown>[] = [];
  const node = new MFluxDepth({
    depth_image: {
      type: "image",
      data: (await readFile(new URL("cube_depth.png", examples))).toString("base64"),
    },
    model: { type: "hf.flux_depth", repo_id: "me/tiny" },
    steps: 51,
  });
  await assert.rejects(node.process({ postMessage: (message) => messages.push(message) }), /steps/);
  assert.deepEqual(hub.asked, [], "an invalid request downloads nothing");
  node.assign({ steps: 1, width: 256, height: 256 });
  await node.process({ postMessage: (message) => messages.push(message) });
  assert.ok(messages.some(({ progress, total }) => total === 21 && Number(progress) > 1));
  assert.deepEqual(messages.at(-1), {
    type: "node_progress",
    node_id: "",
    progress: 1,
    total: 1,
    workflow_id: undefined,
  });
});
