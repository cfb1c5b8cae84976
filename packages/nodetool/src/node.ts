/*
 * The node as a class of NodeTool's TypeScript SDK, for hosts that run nodes in their own process. If the SDK is not
 * installed, the class extends a base of the same shape.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Engine, type EngineEvent } from "mflux-depth/engine";
import { MfluxDepthError } from "mflux-depth/errors";
import { isRecord } from "mflux-depth/options";
import { messageOf, warningOf } from "./advice.js";
import { packDefinition as definition } from "./definition.js";
import { jobOf } from "./inputs/job.js";
import { drawnSeed, logUpdate } from "./log-update.js";
import { outputTypes, PlainNode } from "./plain-node.js";
import { reportProgress } from "./progress.js";
import { kindOf, nameOf, nodeProperties } from "./properties.js";
import { type NodeContext, type NodeInstance, type NodeSdk, optionsOf, type Properties } from "./sdk.js";

export type { NodeContext, NodeInstance, NodeSdk, PropertyOptions } from "./sdk.js";

export interface MFluxDepthClass {
  new (properties?: Properties): NodeInstance & { process(context?: NodeContext): Promise<Properties> };
  readonly nodeType: string;
  readonly title: string;
  readonly description: string;
  readonly requiredSettings: readonly string[];
  readonly body: string;
}

/** Started by the first node that runs, and shared, because a machine has one GPU. */
let engine: Engine | null = null;

const imageProperties = nodeProperties.filter((property) => kindOf(property).type === "image").map(nameOf);

/** Makes the node's class for the given SDK. */
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
    static readonly body = definition.body;
    static readonly exposeAsTool = definition.expose_as_tool;
    static readonly outputTypes = outputTypes;
    static readonly metadataOutputTypes = outputTypes;

    /**
     * Generates an image: `{ output: { type: "image", data, mimeType, width, height } }`, data in base64.
     * @throws the reason of the host's signal when the workflow is stopped.
     */
    async process(context?: NodeContext): Promise<Properties> {
      const fields = this.serialize();
      const blobs: Properties = {};
      for (const name of imageProperties) {
        const bytes = await loadImage(fields[name], context);
        if (bytes) blobs[name] = bytes;
      }
      const job = jobOf({ fields, blobs, localFiles: true });
      const token = (await context?.getSecret?.("HF_TOKEN")) || undefined;
      engine ??= new Engine();
      using report = reportProgress(job, ({ progress, total }) =>
        context?.postMessage?.({
          type: "node_progress",
          node_id: this.__node_id,
          progress,
          total,
          workflow_id: context.workflowId,
        }),
      );
      const log = (content: string, severity: "info" | "warning"): void =>
        context?.postMessage?.(logUpdate(this.__node_id, content, severity));
      const onEvent = (event: EngineEvent): void => {
        if (event.type === "warning") log(warningOf(event), "warning");
        else report.receive(event);
      };
      const signal = context?.signal ?? undefined;
      const result = await engine.generate(job, { signal, onEvent, token }).catch((error: unknown) => {
        throw error instanceof MfluxDepthError ? new Error(messageOf(error), { cause: error }) : error;
      });
      const { image, width, height, seed, metadata, warnings } = result;
      if (job.request.seed === 0) log(drawnSeed(seed), "info");
      return {
        output: {
          type: "image",
          data: Buffer.from(image).toString("base64"),
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

/** Loads an image that is given by its address from the host's storage; null if it is given otherwise. */
async function loadImage(ref: unknown, context: NodeContext | undefined): Promise<Uint8Array | null> {
  if (!isRecord(ref) || typeof ref.uri !== "string" || ref.uri === "" || ref.data) return null;
  const { uri } = ref;
  if (uri.startsWith("data:")) return null;
  const resolved = await context?.resolveAssetBytes?.(uri);
  const stored = resolved?.bytes ?? (await context?.storage?.retrieve(uri));
  if (stored) return stored;
  return uri.startsWith("file:") ? readFile(fileURLToPath(uri)) : null;
}

/** The node's class without the SDK. */
export const MFluxDepth: MFluxDepthClass = nodeClass({
  BaseNode: PlainNode,
  registerDeclaredProperty: () => {},
});

/** A host's registry of nodes. */
export interface NodeRegistry {
  register(nodeClass: MFluxDepthClass): void;
}

/** Registers the node, on the SDK's base class if the SDK is installed. */
export async function register(registry: NodeRegistry): Promise<void> {
  // Not a literal, so that the package builds and runs without the SDK.
  const name = "@nodetool-ai/node-sdk";
  const sdk: NodeSdk | null = await import(name).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ERR_MODULE_NOT_FOUND") return null;
    throw error;
  });
  registry.register(sdk ? nodeClass(sdk) : MFluxDepth);
}
