/** The pipeline in a process of its own, for programs that must stay responsive and outlive it. */

export { Engine, type EngineOptions, type RunOptions } from "./engine.js";
export {
  EngineError,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
  type HeldModel,
} from "./protocol.js";
