import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import sharp from "sharp";
import { definition } from "../src/definition.js";
import { MFluxDepth, type NodeContext, nodeClass, type PropertyOptions, register } from "../src/node.js";
import { examples } from "./support/host.js";
import { goodToken, startHub, tiny } from "./support/hub.js";

// The engine's process and the downloads inherit the test Hub's environment.
const { hub, environment, end } = await startHub();
Object.assign(process.env, environment);
after(end);

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
  assert.equal(node.nodeType, "mflux_depth.MFluxDepth");
  assert.equal(node.body, "content_card");
  assert.deepEqual(node.requiredSettings, ["HF_TOKEN"]);
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

test("the node registers as a pack, under its own namespace", async () => {
  // NodeTool's pack loader skips nodes under its own namespaces, and types that are taken.
  const reserved = ["nodetool", "lib", "huggingface", "hf", "mlx"];
  const registered = new Map<string, unknown>([[definition.node_type, "the worker's"]]);
  await register({
    register: (node) => {
      const [namespace = ""] = node.nodeType.split(".");
      if (!reserved.includes(namespace) && !registered.has(node.nodeType))
        registered.set(node.nodeType, node);
    },
  });
  assert.deepEqual([...registered.keys()], [definition.node_type, "mflux_depth.MFluxDepth"]);
});

test("the node registers on its own base class without the SDK", async () => {
  const registered: unknown[] = [];
  await register({ register: (node) => registered.push(node) });
  assert.deepEqual(registered, [MFluxDepth]);
  const node = new MFluxDepth({ quantize: null });
  assert.equal(node.serialize().quantize, null);
  node.assign({ steps: 3 });
  assert.deepEqual([node.serialize().quantize, node.serialize().steps], [null, 3]);
});

describe("the node with images in the host's storage", () => {
  let map: Uint8Array;
  let output: {
    type: string;
    data: string;
    mimeType: string;
    metadata: { seed: number; warnings: string[] };
  };
  const messages: Record<string, unknown>[] = [];
  const context: NodeContext = {
    workflowId: "w1",
    resolveAssetBytes: async () => ({ bytes: null }),
    storage: { retrieve: async (uri) => (uri === "memory://map" ? map : null) },
    postMessage: (message) => messages.push(message),
  };
  before(async () => {
    map = await readFile(new URL("chelsea.jpg", examples));
    const node = new MFluxDepth({
      prompt: "a red cube",
      depth_image: { type: "image", uri: "memory://map" },
      model: { type: "hf.flux_depth", repo_id: "tiny-world" },
      quantize: null,
      width: 256,
      height: 256,
      steps: 2,
      seed: 0,
    });
    node.__node_id = "n1";
    ({ output } = (await node.process(context)) as { output: typeof output });
  });

  test("makes an image of the requested size", async () => {
    assert.deepEqual([output.type, output.mimeType], ["image", "image/png"]);
    const { width, height } = await sharp(Buffer.from(output.data, "base64")).metadata();
    assert.deepEqual([width, height], [256, 256]);
  });

  test("reports its progress to the host", () =>
    assert.deepEqual(
      messages.filter(({ type, progress }) => type !== "log_update" && progress !== 0),
      [1, 2].map((progress) => ({
        type: "node_progress",
        node_id: "n1",
        progress,
        total: 2,
        workflow_id: "w1",
      })),
    ));

  test("reports warnings and a drawn seed in the user's log", () => {
    const [warning] = output.metadata.warnings;
    assert.match(warning ?? "", /in colour, but a depth map is grey/);
    assert.deepEqual(
      messages.filter(({ type }) => type === "log_update"),
      [
        { content: warning, severity: "warning" },
        { content: `Seed ${output.metadata.seed} was drawn.`, severity: "info" },
      ].map((line) => ({ type: "log_update", node_id: "n1", node_name: "MFlux Depth", ...line })),
    );
  });

  test("refuses one that is not there", async () => {
    const lost = new MFluxDepth({ depth_image: { type: "image", uri: "memory://gone" } });
    await assert.rejects(lost.process(context), /depth_image could not be loaded/);
  });
});

test("the node stops when its workflow is stopped, while it waits and while it works", async () => {
  const properties = {
    depth_image: new URL("cube_depth.png", examples).href,
    model: { repo_id: "tiny-world" },
    quantize: null,
    steps: 50,
    width: 512,
    height: 512,
  };
  const stopped = new Error("stopped by the user");
  const controllers = [new AbortController(), new AbortController()];
  const stops = (message: Record<string, unknown>, controller: AbortController): void => {
    if (message.type === "node_progress" && Number(message.progress) >= 1) controller.abort(stopped);
  };
  const [working, waiting] = controllers.map((controller) =>
    new MFluxDepth(properties).process({
      signal: controller.signal,
      postMessage: (message) => stops(message, controller),
    }),
  );
  controllers[1]!.abort(stopped);
  await Promise.all([assert.rejects(working!, stopped), assert.rejects(waiting!, stopped)]);
  const next = new MFluxDepth({ ...properties, steps: 1, width: 256, height: 256 });
  assert.equal(((await next.process()).output as { width: number }).width, 256);
});

test("the node reads a file of this machine, and downloads with the host's token", async () => {
  hub.host("me/gated", tiny, { gated: true });
  const node = new MFluxDepth({
    depth_image: new URL("cube_depth.png", examples).href,
    model: { repo_id: "me/gated" },
    steps: 1,
    width: 256,
    height: 256,
  });
  await assert.rejects(node.process({ getSecret: async () => null }), /access is gated/);
  const secrets: Record<string, string> = { HF_TOKEN: goodToken };
  const { output } = await node.process({ getSecret: async (name) => secrets[name] });
  assert.equal((output as { mimeType: string }).mimeType, "image/png");
});

test("the node downloads a missing model, with megabytes as progress", async () => {
  hub.host("me/tiny", tiny);
  hub.forget();
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
  node.assign({ steps: 1, width: 256, height: 256, seed: 7 });
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
