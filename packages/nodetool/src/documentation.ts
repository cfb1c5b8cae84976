import type { NodeMetadata, TypeMetadata } from "./metadata.js";

/** The documentation page of a node in Markdown, in NodeTool's format. */
export function documentationPage(node: NodeMetadata): string {
  const properties = node.properties.map(
    ({ name, type, description, default: value }) =>
      `| ${name} | \`${typeText(type)}\` | ${description} | \`${valueText(value, type)}\` |`,
  );
  const outputs = node.outputs.map(({ name, type }) => `| ${name} | \`${typeText(type)}\` |  |`);
  return `---
layout: page
title: "${node.title}"
node_type: "${node.node_type}"
namespace: "${node.namespace}"
---

**Type:** \`${node.node_type}\`

**Namespace:** \`${node.namespace}\`

## Description

${node.description}

## Properties

| Property | Type | Description | Default |
|----------|------|-------------|----------|
${properties.join("\n")}

## Outputs

| Output | Type | Description |
|--------|------|-------------|
${outputs.join("\n")}

## Metadata

## Related Nodes

Browse other nodes in the [${node.namespace}](../) namespace.

`;
}

function typeText({ type, optional, values }: TypeMetadata): string {
  const name = type === "enum" ? `Enum[${values?.join(", ")}]` : type;
  return optional ? `Optional[${name}]` : name;
}

/** Formats a default as Python does, because NodeTool generates its pages from Python values. */
function valueText(value: unknown, { type }: TypeMetadata): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" && type === "float" && Number.isInteger(value)) return value.toFixed(1);
  return python(value);
}

function python(value: unknown): string {
  if (value === null) return "None";
  if (typeof value === "string") return `'${value}'`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([key, inner]) => `'${key}': ${python(inner)}`)
      .join(", ")}}`;
  return String(value);
}
