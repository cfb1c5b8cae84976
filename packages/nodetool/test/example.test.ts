import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { definition } from "../src/definition.js";
import { jobOf } from "../src/inputs/job.js";
import { examples } from "./support/host.js";

interface Workflow {
  readonly graph: {
    readonly nodes: readonly { id: string; type: string; data: Record<string, unknown> }[];
    readonly edges: readonly { source: string; sourceHandle: string; target: string; targetHandle: string }[];
  };
}

test("the example workflow uses the node's properties and outputs, with valid values", async () => {
  const text = await readFile(new URL("../nodetool/depth-guided.json", examples), "utf8");
  const { nodes, edges } = (JSON.parse(text) as Workflow).graph;
  const [node, ...others] = nodes.filter(({ type }) => type === definition.node_type);
  assert.ok(node && others.length === 0);

  const names = definition.properties.map(({ name }) => name);
  for (const name of Object.keys(node.data)) assert.ok(names.includes(name), name);
  const into = edges.filter(({ target }) => target === node.id);
  for (const { targetHandle } of into)
    assert.ok(definition.input_fields.includes(targetHandle), targetHandle);
  for (const { sourceHandle } of edges.filter(({ source }) => source === node.id))
    assert.ok(
      definition.outputs.some(({ name }) => name === sourceHandle),
      sourceHandle,
    );

  const wired = into.map(({ source, targetHandle }) => [
    targetHandle,
    nodes.find(({ id }) => id === source)?.data.value,
  ]);
  const { request, load } = jobOf({
    fields: { ...node.data, ...Object.fromEntries(wired) },
    blobs: {},
    localFiles: false,
  });
  assert.equal(load.model, "tiny-world");
  assert.deepEqual(request.depthImage, await readFile(new URL("cube_depth.png", examples)));
});
