/* The progress of a running job, from its events. */
import type { EventData } from "@mflux-depth/server/contract";
import type { StreamEvent } from "./stream.js";

export interface Progress {
  /** The share of the weights read so far (null if the size is unknown); null unless weights are being read. */
  readonly loading: { readonly share: number | null } | null;
  readonly stage: EventData["stage"]["stage"] | null;
  readonly step: number;
  readonly steps: number | null;
  readonly remainingSeconds: number | null;
  /** The address of the newest preview. */
  readonly preview: string | null;
  /** The step that an interrupted job continued from. */
  readonly resumedFrom: number | null;
}

/** The progress of a job that has just started. */
export const noProgress: Progress = {
  loading: null,
  stage: null,
  step: 0,
  steps: null,
  remainingSeconds: null,
  preview: null,
  resumedFrom: null,
};

/** The progress after another event of the job. */
export function progressAfter(progress: Progress, { event, data }: StreamEvent): Progress {
  switch (event) {
    case "started":
      // Keeps the last preview of an interrupted attempt until there is a newer one.
      return { ...noProgress, preview: progress.preview };
    case "load":
      return {
        ...progress,
        loading: { share: data.total_bytes ? data.done_bytes / data.total_bytes : null },
      };
    case "stage":
      return data.state === "started" ? { ...progress, loading: null, stage: data.stage } : progress;
    case "step":
      return {
        ...progress,
        loading: null,
        stage: "denoise",
        step: data.step,
        steps: data.steps,
        remainingSeconds: data.remaining_seconds,
      };
    case "preview":
      return { ...progress, preview: data.url };
    case "resumed":
      return { ...progress, step: data.from_step, resumedFrom: data.from_step };
    default:
      return progress;
  }
}
