import type { JobPlan } from "mflux-depth/engine";
import type { JobChanges, PlanObject } from "../contract/index.js";
import { forClients } from "./messages.js";

type Alternative = JobPlan["alternatives"][number];

/**
 * Converts a plan for clients.
 * @param estimatedSeconds null if no similar job has been measured yet.
 */
export function planObjectOf(
  { fits, peak, machine, stages, alternatives, notes }: JobPlan,
  estimatedSeconds: number | null,
): PlanObject {
  return {
    fits,
    peak_bytes: Math.round(peak),
    available_bytes: Math.round(machine.available),
    stages: stages.map(({ stage, weights, work }) => ({
      stage,
      weights_bytes: Math.round(weights),
      working_bytes: Math.round(work),
    })),
    estimated_seconds: estimatedSeconds,
    // Requests cannot change the memory policy, so alternatives that need it are left out.
    alternatives: alternatives
      .filter(({ memory }) => memory === undefined)
      .map((alternative) => ({ changes: changesOf(alternative), peak_bytes: Math.round(alternative.peak) })),
    notes: notes.map(forClients),
  };
}

const changesOf = ({ width, height, quantize }: Alternative): JobChanges => ({
  ...(width !== undefined && height !== undefined && { request: { width, height } }),
  ...(quantize !== undefined && { load: { quantize } }),
});

/** The part of a plan that estimates depth: all that a job of kind `depth` needs. */
export function depthPartOf(plan: JobPlan): JobPlan {
  const stages = plan.stages.filter(({ stage }) => stage === "depth");
  const peak = Math.max(0, ...stages.map((stage) => stage.peak));
  return { ...plan, stages, peak, fits: peak <= plan.machine.available, alternatives: [] };
}
