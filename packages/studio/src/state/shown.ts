/* The content of the canvas: the draft, or a job with its own pictures. */
import type { ImageObject, JobObject } from "@mflux-depth/server/contract";
import { computed, effect, signal, untracked } from "@preact/signals";
import {
  type Comparison,
  DepthPainting,
  decodePicture,
  fieldFromNpy,
  neutralLevels,
  type View,
} from "../canvas/index.js";
import { api } from "./api.js";
import { release } from "./bitmaps.js";
import { depth, photoBitmap } from "./depth.js";
import { draft } from "./draft.js";
import { blobOf } from "./job-body.js";
import { isFinished, isGone, jobs, meet, progressOf, readAgain } from "./jobs.js";
import { fileOf } from "./pictures.js";
import { recall, remember } from "./storage.js";
import { resyncs } from "./stream.js";

const name = "shown";

/** The job on the canvas; null for the draft. */
const shownId = signal<string | null>(recall<string>(name));
export const view = signal<View>(recall<View>("view") ?? "depth");
export const comparison = signal<Comparison | null>(null);

effect(() => remember(name, shownId.value));
effect(() => remember("view", view.value));

export const shown = computed<JobObject | null>(() =>
  shownId.value === null ? null : (jobs.value.get(shownId.value) ?? null),
);

/** Which of the job's images is on the canvas, from 0: the best. */
const imageIndex = signal(0);

/** The image of the job on the canvas; null until it has one. */
export const shownImage = computed<ImageObject | null>(
  () => shown.value?.images[imageIndex.value] ?? shown.value?.image ?? null,
);

/** Increases with every request to show a job, even the one already shown. */
export const showings = signal(0);

/** Puts a job on the canvas, with its best or only image. */
export function show(id: string): void {
  shownId.value = id;
  showings.value += 1;
  imageIndex.value = 0;
  view.value = "result";
}

/** Puts the draft on the canvas. */
export function showDraft(as?: View): void {
  shownId.value = null;
  comparison.value = null;
  if (as ?? view.value === "result") view.value = as ?? "depth";
}

/** The jobs of a grid: those submitted together with the one shown. */
export const group = computed<readonly JobObject[]>(() => {
  const id = shown.value?.metadata.group;
  if (!id) return [];
  return [...jobs.value.values()]
    .filter(({ metadata }) => metadata.group === id)
    .sort((a, b) => a.created_at.localeCompare(b.created_at) || a.id.localeCompare(b.id));
});

/** Whether the grid is shown rather than one of its images. */
export const showsGrid = signal(false);

/** How many images a grid would have: those of the job, or those of its group. */
export const gridSize = computed<number>(() => {
  const ranked = shown.value?.images.length ?? 0;
  return ranked > 1 ? ranked : group.value.length;
});

/** Puts one of the shown job's images on the canvas. @param index from 0: the best */
export function showImage(index: number): void {
  imageIndex.value = index;
  showsGrid.value = false;
  view.value = "result";
}

export interface Pictures {
  readonly photo: ImageBitmap | null;
  readonly depth: DepthPainting | null;
  readonly result: ImageBitmap | null;
}

const none: Pictures = { photo: null, depth: null, result: null };
const jobPictures = signal<Pictures>(none);

const draftDepth = computed(() => (depth.value.state === "ready" ? depth.value.painting : null));

/** Whether the shown job has no depth map yet, and will have the draft's. */
const borrowsDepth = computed<boolean>(() => {
  const job = shown.value;
  if (!job || isFinished(job)) return false;
  const { photo, map } = draft.value;
  return (
    blobOf(job.request, "image") === (photo?.id ?? null) &&
    blobOf(job.request, "depth_image") === (map?.id ?? null)
  );
});

/** The pictures on the canvas. */
export const pictures = computed<Pictures>(() => {
  if (shownId.value === null) return { photo: photoBitmap.value, depth: draftDepth.value, result: null };
  return borrowsDepth.value ? { ...jobPictures.value, depth: draftDepth.value } : jobPictures.value;
});

/** Whether the canvas has a photo, even one that is still being read. A draft's map counts as its photo. */
export const hasPhoto = computed<boolean>(
  () => shown.value === null || blobOf(shown.value.request, "image") !== null,
);

/** The levels to apply on the canvas; a job's map already contains its own. */
export const levels = computed(() =>
  shownId.value === null || borrowsDepth.value ? draft.value.levels : neutralLevels,
);

/** Whether the canvas shows the draft rather than a job. */
export const isDraftShown = computed(() => shownId.value === null);

/** Whether the depth that the canvas shows can be painted. */
export const isEditable = computed(() => isDraftShown.value && depth.value.state === "ready");

/** Shows the draft whenever it gets another picture. */
export function followNewPictures(): () => void {
  let before: string | null = null;
  return effect(() => {
    const { photo, map } = draft.value;
    const ids = `${photo?.id} ${map?.id}`;
    if (before !== null && before !== ids) untracked(() => showDraft("depth"));
    before = ids;
  });
}

/** The id of a job that should be on the canvas, but which the page does not know: it is old, or has been deleted. */
const missing = computed<string | null>(() =>
  shownId.value !== null && !jobs.value.has(shownId.value) ? shownId.value : null,
);

/** Requests the shown job if the page does not know it, and shows the draft if it no longer exists. */
export function followMissing(): () => void {
  return effect(() => {
    void resyncs.value;
    const id = missing.value;
    if (id === null) return;
    void untracked(() => meet(id)).catch((error: unknown) => {
      if (isGone(error) && shownId.value === id) showDraft();
    });
  });
}

/** Requests the shown job again: it may be older than the history that is read, and have been deleted unnoticed. */
export async function rereadShown(): Promise<void> {
  const job = shown.peek();
  if (job) await readAgain(job.id);
}

/** Follows the shown job with its pictures. */
export function followShown(): () => void {
  /** Shows the pictures of the shown job. */
  const addresses = computed(() => {
    const job = shown.value;
    return job
      ? JSON.stringify([
          blobOf(job.request, "image"),
          job.depth?.url ?? null,
          shownImage.value?.url ?? (isFinished(job) ? null : progressOf(job.id).preview),
          job.id,
        ])
      : null;
  });
  let before: string | null = null;
  /** The numbers of two requests for images: the last one sent, and the one on the canvas. */
  let asked = 0;
  let newest = 0;
  const drop = (): void => {
    release(jobPictures.peek().photo);
    release(jobPictures.peek().result);
    jobPictures.value = none;
  };
  return effect(() => {
    // Pictures that failed to load while the server was away are read when it is back.
    void resyncs.value;
    const text = addresses.value;
    let current = true;
    const mine = ++asked;
    if (text === null) {
      before = null;
      drop();
      return;
    }
    const [photo, map, image, id] = JSON.parse(text) as [string | null, string | null, string | null, string];
    // Pictures of the same job stay until the new ones are ready.
    if (before !== id) drop();
    before = id;
    const old = jobPictures.peek();
    const take = (changes: Partial<Pictures>): void => {
      jobPictures.value = { ...jobPictures.peek(), ...changes };
    };
    // While a job runs, its address changes with each preview, possibly before the last preview has been read.
    const isPreview = untracked(() => shownImage.value === null);
    const isSameJob = (): boolean => before === id;
    /** A bitmap takes its place, or is dropped. */
    const takeBitmap = (name: "photo" | "result", isWanted: () => boolean) => (bitmap: ImageBitmap) => {
      const wanted = isWanted();
      release(wanted ? jobPictures.peek()[name] : bitmap);
      if (wanted) take({ [name]: bitmap });
    };
    if (photo && !old.photo)
      void fileOf(photo).then(decodePicture).then(takeBitmap("photo", isSameJob), ignore);
    if (map && !old.depth)
      void api
        .jobDepth(map)
        .then((npy) => {
          if (isSameJob()) take({ depth: new DepthPainting(fieldFromNpy(npy, "given")) });
        })
        .catch(ignore);
    if (image)
      void api
        .file(image)
        .then(decodePicture)
        .then(
          takeBitmap("result", () => {
            const wanted = current || (isPreview && isSameJob() && mine > newest);
            if (wanted) newest = mine;
            return wanted;
          }),
          ignore,
        );
    return () => {
      current = false;
    };
  });
}

/** A missing picture leaves its place empty; the newest preview replaces one that came too late. */
const ignore = (): void => {};
