import type { JobObject } from "@mflux-depth/server/contract";
import { progressOf } from "../state/jobs.js";
import { isPaused } from "../state/queue.js";
import { strings } from "../strings.js";

const text = strings.progress;

/** Describes the current activity of a job in a few words. */
export function progressText(job: JobObject): string {
  if (job.cancel_requested && job.state === "running") return text.cancelling;
  switch (job.state) {
    case "queued":
      return isPaused.value ? text.queuePaused : text.queued(job.position);
    case "running": {
      const { loading, stage } = progressOf(job.id);
      if (loading) return text.loading(loading.share);
      if (stage) return text.stages[stage];
      // A page opened in the middle of a job hears of a stage only when the next one begins.
      return job.step > 0 ? text.stages.denoise : text.starting;
    }
    case "succeeded":
      return text.finished;
    case "failed":
      return text.failed;
    case "cancelled":
      return text.cancelled;
  }
}

/** The completed share of a job, 0 to 1; null while it is unknown. */
export function shareOf(job: JobObject): number | null {
  const { loading, step, steps } = progressOf(job.id);
  const total = steps ?? job.steps;
  if (job.state !== "running") return null;
  if (loading) return loading.share;
  const done = Math.max(step, job.step);
  return total && done > 0 ? done / total : null;
}
