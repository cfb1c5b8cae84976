/*
 * From the draft to jobs: what they will cost, and submitting them.
 */
import type { JobBody, JobObject, JsonOptions, PlanObject } from "@mflux-depth/server/contract";
import { computed, effect, signal, untracked } from "@preact/signals";
import {
  decodePicture,
  drawMask,
  encodeDepth,
  encodePicture,
  type Frame,
  framedField,
  frameFor,
  renderFrame,
} from "../canvas/index.js";
import { api, RefusedError, ServerAwayError } from "./api.js";
import { capabilities, requestFields, usualArea } from "./capabilities.js";
import { hasKeptStrokes, isPainted, photoBitmap, settledDepth } from "./depth.js";
import { type Draft, draft, edit, mainPicture, type Picture } from "./draft.js";
import { fieldNamed } from "./fields.js";
import { newId } from "./ids.js";
import { imagesWanted } from "./images.js";
import { jobBody, type PreparedPictures, picturesOf } from "./job-body.js";
import { learn } from "./jobs.js";
import { keptMask } from "./mask.js";
import { fileOf, uploadAgain } from "./pictures.js";
import { show, showsGrid } from "./shown.js";
import { chosenSize, needsFrame, type Size } from "./size.js";
import { resyncs } from "./stream.js";

/** The size of the next image. */
export const size = computed<Size>(() =>
  chosenSize(draft.value.size, mainPicture(draft.value), usualArea.value),
);

/** Whether the pictures are cropped or padded for that size. */
export const isFramed = computed<boolean>(() => {
  const picture = mainPicture(draft.value);
  return picture !== null && needsFrame(picture, size.value);
});

/** The place of the photo within the image; null if it fills it. */
export const frame = computed<Frame | null>(() => {
  const bitmap = photoBitmap.value;
  return bitmap && isFramed.value ? frameFor(bitmap, size.value, draft.value.fit) : null;
});

/** A number of the request: set, or by default. */
function numberOf(name: string, otherwise: number): number {
  const set = draft.value.request[name] ?? fieldNamed(requestFields.value, name)?.default;
  return typeof set === "number" ? set : otherwise;
}

export const steps = computed<number>(() => numberOf("steps", 1));

// What the next job costs.

export type PlanState =
  | { readonly state: "none" }
  | { readonly state: "asking"; readonly last: PlanObject | null }
  | { readonly state: "known"; readonly plan: PlanObject };

export const plan = signal<PlanState>({ state: "none" });

/** The pause in typing, in milliseconds, before asking the server again. */
const settleMilliseconds = 300;

/** The body to plan, as text, so that only changes that affect the cost ask the server again. */
const planned = computed<string | null>(() => {
  const current = draft.value;
  if (!capabilities.value || !mainPicture(current)) return null;
  const body = jobBody({
    draft: current,
    pictures: picturesToPlan(current),
    size: size.value,
    // The words hardly affect the cost.
    prompt: "a picture",
    steps: steps.value,
  });
  return JSON.stringify(body);
});

/**
 * Uploads that stand in for the job's when planning. The cost of a mask or map does not depend on its content, so the
 * photo takes its place, including that of a painted or framed map, which spares the server an estimate.
 */
function picturesToPlan(current: Draft): PreparedPictures {
  const own = picturesOf(current);
  const levelled = isFramed.value || isPainted();
  return {
    photo: own.photo,
    map: own.map ?? (levelled ? own.photo : null),
    mask: current.masked ? own.photo : null,
    levelled,
  };
}

/** Follows the draft with the server's plan. */
export function followPlan(): () => void {
  return effect(() => {
    // A server that was away has not answered, so ask again.
    void resyncs.value;
    if (planned.value === null) {
      plan.value = { state: "none" };
      return;
    }
    const body = JSON.parse(planned.value) as JobBody;
    const last = untracked(() => (plan.value.state === "known" ? plan.value.plan : null));
    plan.value = { state: "asking", last };
    const stop = new AbortController();
    const timer = setTimeout(
      () =>
        void api.plan(body, stop.signal).then(
          (answer) => {
            plan.value = { state: "known", plan: answer };
          },
          () => {
            if (!stop.signal.aborted) plan.value = { state: "none" };
          },
        ),
      settleMilliseconds,
    );
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
}

// Submitting.

/** The number of characters by which the prompt is too long; 0 if the server accepts it. */
export const promptExcess = computed<number>(() => {
  const most = capabilities.value?.limits.prompt_characters ?? Number.POSITIVE_INFINITY;
  return Math.max(0, [...draft.value.prompt.trim()].length - most);
});

/** Why the last attempt to submit failed; null when it did not. */
export const submitError = signal<SubmitError | null>(null);
export type SubmitError = "away" | { readonly message: string; readonly param: string | null };

/** While jobs are being submitted. */
export const isSubmitting = signal(false);

/** Submits the draft as a job and shows it. */
export const generate = (): Promise<void> => submitAndShow(async () => [await submitDraft()]);

/** Repeats a job that failed or was cancelled. */
export const retry = (id: string): Promise<void> => submitAndShow(async () => [await api.retry(id)]);

/** Jobs of a grid that varies the seed. */
const variations = 4;
export const largestSeed = 2 ** 32 - 1;

/** A random seed, excluding 0, which would let the server draw one. */
export const randomSeed = (): number => 1 + Math.floor(Math.random() * largestSeed);

/** Repeats a job with four other seeds, as one group, and shows the grid. */
export async function varySeedOf({ request, load, preview_every, metadata }: JobObject): Promise<void> {
  const group = newId();
  await submitAndShow(async () => {
    const made: JobObject[] = [];
    for (let i = 0; i < variations; i++) {
      const seeded = { ...withoutNulls(request), seed: randomSeed(), best_of: 1 };
      const body: JobBody = {
        kind: "generate",
        request: seeded,
        load: withoutNulls(load),
        preview_every,
        metadata: { ...metadata, group },
      };
      made.push(await api.submit(body, newId()));
    }
    return made;
  });
  if (!submitError.value) showsGrid.value = true;
}

const withoutNulls = (options: JsonOptions): JsonOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));

async function submitAndShow(submit: () => Promise<JobObject[]>): Promise<void> {
  if (isSubmitting.value) return;
  isSubmitting.value = true;
  submitError.value = null;
  try {
    const made = await submit();
    learn(made);
    // Ranked images appear together, once all are ready.
    showsGrid.value = imagesWanted(made[0]!) > 1;
    show(made[0]!.id);
  } catch (error) {
    submitError.value = describe(error);
  } finally {
    isSubmitting.value = false;
  }
}

/** The draft at the moment of the click. */
interface Prepared {
  readonly draft: Draft;
  readonly size: Size;
  readonly framed: boolean;
  readonly steps: number;
}

async function submitDraft(): Promise<JobObject> {
  // A snapshot, because the person may change the draft meanwhile.
  const now: Prepared = {
    draft: draft.value,
    size: size.value,
    framed: isFramed.value,
    steps: steps.value,
  };
  const current = now.draft;
  const submit = async (): Promise<JobObject> => {
    const body = jobBody({
      ...now,
      pictures: await preparePictures(now),
      prompt: current.prompt.trim(),
    });
    const job = await api.submit(body, keyOf(body));
    unanswered = null;
    return job;
  };
  try {
    return await submit();
  } catch (error) {
    // The server has deleted a picture that no job used for a day; this browser has it.
    if (!(error instanceof RefusedError && /^request\.(image|depth_image)/.test(error.error.param ?? "")))
      throw error;
    await Promise.all([current.photo, current.map].map((picture) => picture && uploadAgain(picture.id)));
    return await submit();
  }
}

/** The last body that got no answer. Sending it again under the same key does not make a second job. */
let unanswered: { readonly body: string; readonly key: string } | null = null;

function keyOf(body: JobBody): string {
  const text = JSON.stringify(body);
  if (unanswered?.body !== text) unanswered = { body: text, key: newId() };
  return unanswered.key;
}

const describe = (error: unknown): SubmitError => {
  if (error instanceof ServerAwayError) return "away";
  if (error instanceof RefusedError) return { message: error.message, param: error.error.param };
  throw error;
};

/** Uploads what has to differ from the draft's own pictures: painted, cropped or padded ones. */
async function preparePictures({
  draft: current,
  size: target,
  framed,
}: Prepared): Promise<PreparedPictures> {
  const own = picturesOf(current);
  const frameOf = (picture: Size): Frame => frameFor(picture, target, current.fit);
  // Wait for the depth, so that strokes of an earlier visit and the frame are not lost while it is being found.
  const found = framed || isPainted() || (await hasKeptStrokes()) ? await settledDepth() : null;
  const photo = current.photo && framed ? await framedPhoto(current.photo.id, frameOf) : own.photo;
  const mask =
    current.photo && current.masked ? await maskFor(current.photo, framed ? frameOf : null) : own.mask;
  if (found?.state !== "ready" || !(framed || isPainted())) return { ...own, photo, mask };
  const { painting } = found;
  const field = framed ? framedField(painting.field, frameOf(painting.field)) : painting.field;
  const map = await api.upload(await encodeDepth(field, painting.statistics, current.levels));
  return { photo, map: map.id, mask, levelled: true };
}

async function framedPhoto(id: string, frameOf: (picture: Size) => Frame): Promise<string> {
  const bitmap = await decodePicture(await fileOf(id));
  const file = await renderFrame(bitmap, frameOf(bitmap));
  bitmap.close();
  return (await api.upload(file)).id;
}

/** Uploads the mask of a photo, in exactly the size in which the photo is sent. */
async function maskFor(photo: Picture, frameOf: ((picture: Size) => Frame) | null): Promise<string> {
  const mask = await drawMask(await keptMask(photo), frameOf ? await decodedSize(photo) : photo);
  const file = await (frameOf ? renderFrame(mask, frameOf(mask)) : encodePicture(mask));
  mask.close();
  return (await api.upload(file)).id;
}

/** The size in which the browser frames a photo. */
async function decodedSize(photo: Picture): Promise<Size> {
  const bitmap = await decodePicture(await fileOf(photo.id));
  const { width, height } = bitmap;
  bitmap.close();
  return { width, height };
}

/** Applies one of the plan's alternatives to the draft. */
export function applyAlternative({ changes }: PlanObject["alternatives"][number]): void {
  const { width, height, ...request } = changes.request ?? {};
  edit({
    ...(width && height && { size: { mode: "custom", width, height } }),
    request: { ...draft.value.request, ...request },
    load: { ...draft.value.load, ...changes.load },
  });
}
