/** The NodeTool node MFlux Depth: what it is, its page, its worker, and a class for hosts that run nodes themselves. */

export {
  definition,
  type NodeMetadata,
  type OutputMetadata,
  type PropertyMetadata,
  type TypeMetadata,
} from "./definition.js";
export { documentationPage } from "./documentation.js";
export * from "./node.js";
export { protocolVersion, Worker, type WorkerOptions } from "./worker/worker.js";
