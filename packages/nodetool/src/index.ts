/** The NodeTool node MFlux Depth: its metadata, its page, its worker, and a class for hosts that run nodes themselves. */

export { definition } from "./definition.js";
export { documentationPage } from "./documentation.js";
export type { NodeMetadata, OutputMetadata, PropertyMetadata, TypeMetadata } from "./metadata.js";
export * from "./node.js";
export { protocolVersion, Worker, type WorkerOptions } from "./worker/worker.js";
