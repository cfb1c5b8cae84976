/*
 * The node as a class of NodeTool's TypeScript node SDK, for hosts that run nodes in their own process. The SDK is
 * used where it is installed; without it the class stands on a base of the same shape.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Engine, type EngineEvent } from "mflux-depth/engine";
import { definition, type PropertyMetadata } from "./definition.js";
import { isRecord, jobOf } from "./inputs.js";
import { progressOf } from "./progress.js";

type Properties = Record<string, unknown>;

/** The part of NodeTool's ProcessingContext that the node uses. */
export interface NodeContext {
  readonly workflowId?: string | null;
  readonly storage?: { retrieve(uri: string): Promise<Uint8Array | null> } | null;
  resolveAssetBytes?(uri: string): Promise<{ bytes: Uint8Array | null }>;
  postMessage?(message: Properties): void;
}

/** What a host calls on a node. */
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

type NodeBase = new (properties?: Properties) => NodeInstance;

/** The part of `@nodetool-ai/node-sdk` that the node uses. */
export interface NodeSdk {
  readonly BaseNode: NodeBase;
  registerDeclaredProperty(nodeClass: object, name: string, options: PropertyOptions): void;
}

export interface MFluxDepthClass {
  new (properties?: Properties): NodeInstance & { process(context?: NodeContext): Promise<Properties> };
  readonly nodeType: string;
  readonly title: string;
  readonly description: string;
}

/** Made when the first node runs, and shared: a machine has one GPU. */
let engine: Engine | null = null;

/** The node's class on the given SDK. */
export function nodeClass({ BaseNode, registerDeclaredProperty }: NodeSdk): MFluxDepthClass {
  class MFluxDepth extends BaseNode {
    static readonly nodeType = definition.node_type;
    static readonly title = definition.title;
    static readonly description = definition.description;
    static readonly recommendedModels = definition.recommended_models;
    static readonly requiredSettings = definition.required_settings;
    static readonly basicFields = definition.basic_fields;
    static readonly inlineFields = definition.inline_fields;
    static readonly inputFields = definition.input_fields;
    static readonly exposeAsTool = definition.expose_as_tool;
    static readonly outputTypes = outputTypes;
    static readonly metadataOutputTypes = outputTypes;

    /** Makes the picture: `{ output: { type: "image", data, mimeType, width, height } }`, data in base64. */
    async process(context?: NodeContext): Promise<Properties> {
      const fields = this.serialize();
      const blobs: Properties = {};
      for (const name of ["image", "depth_image"]) {
        const bytes = await loadPicture(fields[name], context);
        if (bytes) blobs[name] = bytes;
      }
      const job = jobOf({ fields, blobs });
      engine ??= new Engine();
      const onProgress = progressOf(job, ({ progress, total }) =>
        context?.postMessage?.({
          type: "node_progress",
          node_id: this.__node_id,
          progress,
          total,
          workflow_id: context.workflowId,
        }),
      );
      const onEvent = (event: EngineEvent): void => {
        if (event.type !== "warning") onProgress(event);
        else
          context?.postMessage?.({
            type: "log_update",
            node_id: this.__node_id,
            node_name: definition.title,
            content: event.message,
            severity: "warning",
          });
      };
      const { image, width, height, metadata, warnings } = await engine.generate(job, { onEvent });
      const data = Buffer.from(image).toString("base64");
      return {
        output: {
          type: "image",
          data,
          mimeType: "image/png",
          width,
          height,
          metadata: { ...metadata, warnings },
        },
      };
    }
  }
  for (const property of definition.properties)
    registerDeclaredProperty(MFluxDepth, property.name, optionsOf(property));
  return MFluxDepth;
}

const outputTypes = Object.fromEntries(definition.outputs.map(({ name, type }) => [name, type.type]));

function optionsOf({
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

/** A picture that is only named, from where the host keeps it. What is given with its bytes is read later. */
async function loadPicture(ref: unknown, context: NodeContext | undefined): Promise<Uint8Array | null> {
  if (!isRecord(ref) || typeof ref.uri !== "string" || ref.uri === "" || ref.data) return null;
  const { uri } = ref;
  if (uri.startsWith("data:")) return null;
  const resolved = await context?.resolveAssetBytes?.(uri);
  const stored = resolved?.bytes ?? (await context?.storage?.retrieve(uri));
  if (stored) return stored;
  return uri.startsWith("file:") ? readFile(fileURLToPath(uri)) : null;
}

// ---------------------------------------------------------------- without the SDK

const declared = definition.properties.map((property) => ({
  name: property.name,
  options: optionsOf(property),
}));

/** The shape of the SDK's `BaseNode`, as far as hosts use it for this node. */
class PlainNode implements NodeInstance {
  __node_id = "";
  readonly #values: Properties = {};

  constructor(properties: Properties = {}) {
    this.assign(properties);
  }

  static getDeclaredProperties(): typeof declared {
    return declared;
  }

  static getDeclaredOutputs(): Record<string, string> {
    return { ...outputTypes };
  }

  static toDescriptor(id: string = definition.node_type): Properties {
    return {
      id,
      type: definition.node_type,
      name: definition.title,
      is_streaming_input: definition.is_streaming_input,
      is_streaming_output: definition.is_streaming_output,
      propertyTypes: Object.fromEntries(declared.map(({ name, options }) => [name, options.type])),
      outputs: { ...outputTypes },
    };
  }

  /** Takes the declared ones; the others have their default, or what they had. */
  assign(properties: Properties): void {
    for (const { name, options } of declared) {
      if (Object.hasOwn(properties, name)) this.#values[name] = properties[name];
      else if (!Object.hasOwn(this.#values, name)) this.#values[name] = structuredClone(options.default);
    }
  }

  serialize(): Properties {
    return { ...this.#values };
  }

  toExecutor(): { process(inputs: Properties, context?: NodeContext): Promise<Properties> } {
    return {
      process: (inputs, context) => {
        this.assign(inputs);
        return (this as unknown as InstanceType<MFluxDepthClass>).process(context);
      },
    };
  }
}

/** The node's class without the SDK. */
export const MFluxDepth: MFluxDepthClass = nodeClass({
  BaseNode: PlainNode,
  registerDeclaredProperty: () => {},
});

/** What nodes are registered in. */
export interface NodeRegistry {
  register(nodeClass: MFluxDepthClass): void;
}

/** Registers the node: on the SDK's base class where the SDK is installed. */
export async function register(registry: NodeRegistry): Promise<void> {
  // Not a literal: the package builds and runs without it.
  const name = "@nodetool-ai/node-sdk";
  const sdk: NodeSdk | null = await import(name).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ERR_MODULE_NOT_FOUND") return null;
    throw error;
  });
  registry.register(sdk ? nodeClass(sdk) : MFluxDepth);
}
