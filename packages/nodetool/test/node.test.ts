import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import sharp from "sharp";
import { definition } from "../src/definition.js";
import { MFluxDepth, type NodeContext, nodeClass, type PropertyOptions, register } from "../src/node.js";
import { examples } from "./host.js";

/** The SDK's base class, as far as the node leans on it. */
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

test("on the SDK's base class the node declares what the definition says", () => {
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

test("without the SDK it registers on a base of its own", async () => {
  const registered: unknown[] = [];
  await register({ register: (node) => registered.push(node) });
  assert.deepEqual(registered, [MFluxDepth]);
  const node = new MFluxDepth({ quantize: null });
  assert.equal(node.serialize().quantize, null);
  node.assign({ steps: 3 });
  assert.deepEqual([node.serialize().quantize, node.serialize().steps], [null, 3]);
});

test("process: the picture from the host's storage, progress as the host shows it", async () => {
  const map = await readFile(new URL("cube_depth.png", examples));
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
    output: { type: string; data: string; mimeType: string };
  };
  assert.deepEqual([output.type, output.mimeType], ["image", "image/png"]);
  const { width, height } = await sharp(Buffer.from(output.data, "base64")).metadata();
  assert.deepEqual([width, height], [256, 256]);
  assert.deepEqual(
    messages,
    [1, 2].map((progress) => ({
      type: "node_progress",
      node_id: "n1",
      progress,
      total: 2,
      workflow_id: "w1",
    })),
  );
  const lost = new MFluxDepth({ depth_image: { type: "image", uri: "memory://gone" } });
  await assert.rejects(lost.process(context), /depth_image could not be loaded/);
});
