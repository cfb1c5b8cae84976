/*
 * The rules by which NodeTool's host checks a worker's frames when it validates them; a frame that breaks one fails its
 * request there, and the test here.
 */
import assert from "node:assert/strict";
import { isRecord } from "mflux-depth/options";

type Check = (value: unknown) => boolean;

const text: Check = (value) => typeof value === "string";
const number: Check = (value) => typeof value === "number";
const map: Check = isRecord;
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
/** A map with the named keys; others are allowed. */
const shape =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isRecord(value) && Object.entries(checks).every(([key, check]) => check(value[key]));

const loadErrors = listOf(
  shape({ error: text, module: optional(text), phase: optional(text), error_type: optional(text) }),
);

const node = shape({
  node_type: text,
  title: optional(text),
  description: optional(text),
  properties: optional(listOf(map)),
  outputs: optional(listOf(map)),
  required_settings: optional(listOf(text)),
  requires_vram_gb: optional(number),
});

/** By the frame's type. */
const dataOf: Readonly<Record<string, Check>> = {
  discover: shape({
    nodes: listOf(node),
    protocol_version: optional(number),
    load_errors: optional(loadErrors),
  }),
  error: shape({ error: text, traceback: optional(text) }),
  progress: map,
  result: map,
  update: shape({ type: text }),
};

/** @throws {AssertionError} when the host would refuse a frame. */
export function assertValidFrame(frame: { type: unknown; request_id: unknown; data: unknown }): void {
  const { type, request_id: id, data } = frame;
  assert.ok(typeof type === "string" && type in dataOf, `a frame of the type ${type}`);
  // An error about a frame that had no readable id can belong to no request.
  assert.ok((typeof id === "string" && id !== "") || (type === "error" && id === null), "request_id");
  assert.ok(dataOf[type]!(data), `the data of a ${type} frame: ${JSON.stringify(data)}`);
}
