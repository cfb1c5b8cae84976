import { defaultDevice } from "@mflux-depth/mlx";
import { describeBytes } from "../bytes.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { MemoryError } from "../errors.js";
import { machineMemory, programBytes, workingRoom } from "../memory/machine.js";
import { type PlannedStage, workBytes } from "../memory/plan.js";

/** The name of the judge's weights in a plan; no stage borrows them. */
export const judgeComponent = "judge";

/**
 * Scoring a finished image, as the plan counts it. Without {@link hasRoom}, the model's weights are freed for it, see
 * `FluxDepth.estimateWith`.
 */
export const judgeStage = (judge: DepthEstimator): PlannedStage<"judge", string> => ({
  name: "judge",
  uses: [{ components: [judgeComponent], transient: true }],
  workingMemory: () => judge.workingMemory(),
  makesRoom: true,
});

/** Bytes that an estimate takes, with the estimator's weights. */
function bytesOfEstimate(estimator: DepthEstimator): number {
  const size = estimator.size();
  return size.bytes + workBytes(estimator.workingMemory(), [size]);
}

/** Whether this process has enough memory for an estimate while keeping `reserved` bytes free. */
export const hasRoom = (estimator: DepthEstimator, reserved = 0): boolean =>
  bytesOfEstimate(estimator) <= workingRoom() - reserved;

/** @throws {MemoryError} when {@link hasRoom} is false. */
export function requireRoom(estimator: DepthEstimator, reserved = 0): void {
  const room = Math.max(0, workingRoom() - reserved);
  requireBytes(estimator, room, "Estimating depth", "free some, or give a depth map");
}

/**
 * Checks that an image can be scored once everything else is freed.
 * @param name of the judge, for the message.
 * @throws {MemoryError} if it cannot.
 */
export function requireRoomAlone(judge: DepthEstimator, name: string): void {
  const room = Math.max(0, machineMemory(defaultDevice()).available - programBytes);
  requireBytes(judge, room, `Scoring with ${name}`, "free some, or choose another judge");
}

function requireBytes(estimator: DepthEstimator, room: number, what: string, advice: string): void {
  const needed = bytesOfEstimate(estimator);
  if (needed <= room) return;
  throw new MemoryError(
    needed,
    room,
    `${what} needs about ${describeBytes(needed)} of memory, but only ${describeBytes(room)} is available; ${advice}.`,
  );
}
