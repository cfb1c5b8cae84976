import type { JobObject } from "@mflux-depth/server/contract";
import { roughTime } from "../controls/format.js";
import { attempt } from "../state/failures.js";
import { imageAt, imagesWanted } from "../state/images.js";
import { progressOf } from "../state/jobs.js";
import { cancel } from "../state/queue.js";
import { strings } from "../strings.js";
import { progressText, shareOf } from "./progress-text.js";

const text = strings.progress;

/** The progress of the job on the canvas, with a button to stop it. */
export function ProgressStrip({ job }: { readonly job: JobObject }) {
  const { stage, remainingSeconds, resumedFrom, loading, ...events } = progressOf(job.id);
  // A page that opened in the middle of a step knows from the job how many went before.
  const { step, steps } = stage === null ? job : events;
  const share = shareOf(job);
  const count = imagesWanted(job);
  const details = [
    count > 1 && job.state === "running" && steps !== null && text.image(imageAt(step, steps, count), count),
    !loading && job.state === "running" && step > 0 && steps && text.step(step, steps),
    !loading && remainingSeconds !== null && remainingSeconds > 0 && text.left(roughTime(remainingSeconds)),
    resumedFrom !== null && text.resumed(resumedFrom),
  ].filter((detail) => typeof detail === "string");
  return (
    <section class="strip" aria-label={strings.progress.preview}>
      <div class="strip-words">
        <p>
          <strong>{progressText(job)}</strong>
          <span class="quiet number">{details.map((detail) => ` · ${detail}`)}</span>
        </p>
        <div
          class="bar"
          role="progressbar"
          aria-label={progressText(job)}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={share === null ? undefined : Math.round(100 * share)}
          data-unknown={share === null && job.state === "running" ? "" : undefined}
        >
          <div style={share === null ? {} : { width: `${100 * share}%` }} />
        </div>
      </div>
      <button
        type="button"
        class="button"
        disabled={job.cancel_requested}
        onClick={() => attempt(cancel(job.id))}
      >
        {text.cancel}
      </button>
    </section>
  );
}
