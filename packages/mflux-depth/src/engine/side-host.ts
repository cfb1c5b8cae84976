/*
 * The side process: estimates depth and plans memory while the engine's process generates. Its owner talks to it over the
 * channel that `fork` opens; when the channel closes, the process ends.
 */
import { judgeOfRequest } from "../depth/judge.js";
import { serializeError } from "../errors.js";
import { measuresFree } from "../memory/machine.js";
import { resolveLoadOptions, resolveRequest } from "../options/index.js";
import { hasRoom, requireRoom } from "../pipeline/estimate-room.js";
import { computeSettingsOf } from "../pipeline/model/device.js";
import { planModel } from "../pipeline/plan.js";
import { enterWith } from "../pipeline/turns/process-settings.js";
import { Queue } from "../pipeline/turns/queue.js";
import { DepthWork } from "./depth-work.js";
import { endWithOwner, tellOwner } from "./owner.js";
import type { DepthResult, FromSide, JobPlan, PlannedJob, SideRequest, ToSide } from "./protocol.js";

const controllers = new Map<number, AbortController>();
const depth = new DepthWork();
/** Estimates run one after another; plans are made in between. */
const estimates = new Queue();

process.on("message", (message: ToSide) => {
  if (message.type === "cancel") controllers.get(message.id)?.abort();
  else void answer(message.id, message.request);
});
endWithOwner();

async function answer(id: number, request: SideRequest): Promise<void> {
  const controller = new AbortController();
  controllers.set(id, controller);
  try {
    tellOwner(await answerOf(id, request, controller.signal));
  } catch (error) {
    tellOwner({ type: "error", id, error: serializeError(error) });
  } finally {
    controllers.delete(id);
  }
}

async function answerOf(id: number, request: SideRequest, signal: AbortSignal): Promise<FromSide> {
  if (request.type === "plan") return { type: "plan", id, plan: await plan(request.job, request.heldBytes) };
  return { type: "depth", id, result: await estimate(request, signal) };
}

function plan(
  { load, request, previews, includeFidelity }: PlannedJob,
  reclaimable: number,
): Promise<JobPlan> {
  const options = resolveLoadOptions({ ...load, offline: true });
  return planModel(options, resolveRequest(request), {
    previews: previews && previews.every > 0 ? previews.kind : null,
    reclaimable,
    judge: includeFidelity ? judgeOfRequest(request, options) : null,
  });
}

type DepthRequest = Extract<SideRequest, { type: "depth" }>;

/**
 * Estimates depth if there is memory for it, in addition to what the generation in progress needs.
 * @returns null if there is too little, and the estimate is not required.
 * @throws {MemoryError} if there is too little, and the estimate is required.
 */
async function estimate(
  { job, runningJob, required }: DepthRequest,
  signal: AbortSignal,
): Promise<DepthResult | null> {
  const own = await estimates.enter(signal);
  try {
    const shared = await enterWith(computeSettingsOf(resolveLoadOptions(job.load)), signal);
    try {
      const estimator = await depth.estimatorOf(job, signal);
      if (!job.load.force) {
        const reserved = runningJob ? await reservedFor(runningJob) : 0;
        if (required) requireRoom(estimator, reserved);
        else if (!hasRoom(estimator, reserved)) return null;
      }
      return await depth.estimate(job, estimator, signal);
    } finally {
      shared.end();
    }
  } finally {
    own.end();
  }
}

/** Bytes to keep free for a generation in another process: everything that it has not allocated yet. */
async function reservedFor({ job, heldBytes }: NonNullable<DepthRequest["runningJob"]>): Promise<number> {
  const { peak, machine } = await plan(job, heldBytes);
  return measuresFree(machine) ? Math.max(0, peak - heldBytes) : Math.max(peak, heldBytes);
}
