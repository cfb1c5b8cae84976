import type { DepthEstimator } from "../depth/estimator.js";
import { workingRoom } from "../memory/machine.js";

/** Bytes that an estimate takes, with the estimator's weights. */
export function bytesOfEstimate(estimator: DepthEstimator): number {
  const { bytes, reading } = estimator.size();
  return bytes + Math.max(reading, estimator.workingMemory());
}

/** Whether this process has the memory for an estimate, and `reserved` bytes remain. */
export const hasRoom = (estimator: DepthEstimator, reserved = 0): boolean =>
  bytesOfEstimate(estimator) <= workingRoom() - reserved;
