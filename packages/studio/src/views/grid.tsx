import type { ImageObject, JobObject } from "@mflux-depth/server/contract";
import type { ComponentChildren } from "preact";
import { thumbnailOf } from "../state/api.js";
import { isFinished, progressOf } from "../state/jobs.js";
import { show, showImage, showsGrid } from "../state/shown.js";
import { strings } from "../strings.js";
import { progressText, shareOf } from "./progress-text.js";

/** Jobs that differ by their seeds. */
export const JobGrid = ({ jobs }: { readonly jobs: readonly JobObject[] }) => (
  <Tiles count={jobs.length}>
    {jobs.map((job) => (
      <Tile
        key={job.id}
        caption={job.seed === null ? null : strings.result.seed(job.seed)}
        onOpen={() => {
          showsGrid.value = false;
          show(job.id);
        }}
      >
        <JobPicture job={job} />
      </Tile>
    ))}
  </Tiles>
);

/** The images of one job, the most faithful first. */
export const ImageGrid = ({ job }: { readonly job: JobObject }) => (
  <Tiles count={job.images.length}>
    {job.images.map((image, index) => (
      <Tile key={image.url} caption={placeText(image, index)} onOpen={() => showImage(index)}>
        <img src={thumbnailOf(image, 768)} alt={String(job.request.prompt)} />
      </Tile>
    ))}
  </Tiles>
);

function placeText({ seed, score }: ImageObject, index: number): string {
  const place = score ? strings.result.place(index + 1, score.rmse) : null;
  return [place, seed !== null && strings.result.seed(seed)].filter(Boolean).join(" · ");
}

/** More columns would make the tiles too small to judge. */
const mostColumns = 4;

const Tiles = ({ count, children }: { readonly count: number; readonly children: ComponentChildren }) => (
  <ul class="grid" style={{ "--columns": Math.min(mostColumns, Math.ceil(Math.sqrt(count))) }}>
    {children}
  </ul>
);

interface TileProps {
  readonly caption: string | null;
  readonly onOpen: () => void;
  readonly children: ComponentChildren;
}

const Tile = ({ caption, onOpen, children }: TileProps) => (
  <li>
    <button type="button" class="grid-tile" onClick={onOpen}>
      {children}
      <span class="grid-caption number">{caption}</span>
    </button>
  </li>
);

function JobPicture({ job }: { readonly job: JobObject }) {
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
