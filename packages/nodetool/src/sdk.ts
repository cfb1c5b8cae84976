/*
 * The part of NodeTool's TypeScript SDK, `@nodetool-ai/node-sdk`, that the node uses.
 */
import type { PropertyMetadata } from "./metadata.js";

export type Properties = Record<string, unknown>;

/** The part of NodeTool's ProcessingContext that the node uses. */
export interface NodeContext {
  readonly workflowId?: string | null;
  /** Aborted when the user stops the workflow. Older hosts provide none, so their runs continue to the end. */
  readonly signal?: AbortSignal | null;
  readonly storage?: { retrieve(uri: string): Promise<Uint8Array | null> } | null;
  resolveAssetBytes?(uri: string): Promise<{ bytes: Uint8Array | null }>;
  postMessage?(message: Properties): void;
  getSecret?(name: string): Promise<string | null | undefined>;
}

/** The members of a node that a host uses. */
export interface NodeInstance {
  __node_id: string;
  assign(properties: Properties): void;
  serialize(): Properties;
}

export interface PropertyOptions {
  readonly type: string;
  readonly default: unknown;
  readonly title: string;
  readonly description: string;
  readonly min?: number;
  readonly max?: number;
  readonly values?: readonly (string | number)[];
}

export type NodeBase = new (properties?: Properties) => NodeInstance;

export interface NodeSdk {
  readonly BaseNode: NodeBase;
  registerDeclaredProperty(nodeClass: object, name: string, options: PropertyOptions): void;
}

/** The SDK's declaration of a property. */
export function optionsOf({
  type,
  title,
  description,
  default: value,
  min,
  max,
}: PropertyMetadata): PropertyOptions {
  return {
    type: type.type,
    default: value,
    title,
    description,
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(type.values && { values: type.values }),
  };
}
