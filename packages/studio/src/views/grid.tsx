import type { JobObject } from "@mflux-depth/server/contract";
import { thumbnailOf } from "../state/api.js";
import { isFinished, progressOf } from "../state/jobs.js";
import { show, showsGrid } from "../state/shown.js";
import { strings } from "../strings.js";
import { progressText, shareOf } from "./progress-text.js";

/** Four images that differ by their seeds. */
export const Grid = ({ jobs }: { readonly jobs: readonly JobObject[] }) => (
  <ul class="grid">
    {jobs.map((job) => (
      <li key={job.id}>
        <button
          type="button"
          class="grid-tile"
          onClick={() => {
            showsGrid.value = false;
            show(job.id);
          }}
        >
          <Tile job={job} />
          <span class="grid-caption number">{job.seed !== null && strings.result.seed(job.seed)}</span>
        </button>
      </li>
    ))}
  </ul>
);

function Tile({ job }: { readonly job: JobObject }) {
  if (job.image) return <img src={thumbnailOf(job.image, 768)} alt={String(job.request.prompt)} />;
  const { preview } = progressOf(job.id);
  const share = shareOf(job);
  return (
    <>
      {preview && <img src={preview} alt={strings.progress.preview} />}
      <span class="grid-progress">
        <span>{progressText(job)}</span>
        {!isFinished(job) && share !== null && (
          <span class="bar">
            <div style={{ width: `${100 * share}%` }} />
          </span>
        )}
      </span>
    </>
  );
}
