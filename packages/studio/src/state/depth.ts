/* The depth on the canvas: estimated from the photo or given, and kept with its strokes. */
import { computed, effect, signal, untracked } from "@preact/signals";
import { looksInverted as looksInvertedMap } from "mflux-depth/depth/polarity";
import { type DepthField, DepthPainting, decodePicture, fieldFromNpy } from "../canvas/index.js";
import { api, ServerAwayError } from "./api.js";
import { release } from "./bitmaps.js";
import { draft, mainPicture } from "./draft.js";
import { attempt } from "./failures.js";
import { isGone } from "./jobs.js";
import { fileOf, paintingName, uploadAgain } from "./pictures.js";
import { files } from "./storage.js";

export type DepthState =
  | { readonly state: "none" }
  | { readonly state: "loading" }
  | {
      readonly state: "ready";
      readonly painting: DepthPainting;
      /** Whether the field contains strokes of an earlier visit. */
      readonly restored: boolean;
    }
  | { readonly state: "failed"; readonly message: string | null };

export const depth = signal<DepthState>({ state: "none" });

/** The draft's photo, decoded; the picture of the depth map if there is no photo. */
export const photoBitmap = signal<ImageBitmap | null>(null);

/** Increases with every stroke, undo and redo. */
export const strokes = signal(0);

/** Whether the map differs from the server's own. */
export function isPainted(): boolean {
  void strokes.value;
  const { value } = depth;
  return value.state === "ready" && (value.restored || value.painting.painted);
}

/** Whether a given map looks as if white meant far. Only given maps are checked. */
export const looksInverted = computed<boolean>(() => {
  void strokes.value;
  const { value } = depth;
  if (value.state !== "ready" || draft.value.map === null) return false;
  const { width, height, values } = value.painting.field;
  return looksInvertedMap({ width, height, channels: 1, data: values });
});

/** Whether strokes on the draft's depth are stored, even if they have not been read yet. */
export async function hasKeptStrokes(): Promise<boolean> {
  return source.value !== null && (await files.get(paintingName(source.value))) !== null;
}

/** Resolves once the depth has been found or has failed. */
export function settledDepth(): Promise<DepthState> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      const { value } = depth;
      if (value.state === "loading") return;
      resolve(value);
      queueMicrotask(() => stop());
    });
  });
}

/** The upload whose depth is shown. Other changes of the draft do not affect it, or the painting. */
const source = computed<string | null>(() => (draft.value.map ?? draft.value.photo)?.id ?? null);
const photoId = computed<string | null>(() => mainPicture(draft.value)?.id ?? null);

const attempts = signal(0);

/** Loads the depth again. */
export function retryDepth(): void {
  attempts.value += 1;
}

/** Loads the depth again if that has failed. */
export function retryFailedDepth(): void {
  if (depth.value.state === "failed") retryDepth();
}

/** Discards the strokes. */
export async function resetPainting(): Promise<void> {
  if (!source.value) return;
  await files.put(paintingName(source.value), undefined);
  retryDepth();
}

/** Follows the draft's pictures. */
export function followPictures(): () => void {
  const stopDepth = effect(() => {
    const id = source.value;
    void attempts.value;
    const stop = new AbortController();
    if (id) void untracked(() => load(id, draft.value.map !== null, stop.signal));
    else depth.value = { state: "none" };
    return () => stop.abort();
  });
  const stopPhoto = effect(() => {
    const id = photoId.value;
    let current = true;
    release(photoBitmap.peek());
    photoBitmap.value = null;
    if (id)
      void fileOf(id)
        .then(decodePicture)
        .then(
          (bitmap) => {
            if (current) photoBitmap.value = bitmap;
            else bitmap.close();
          },
          // The depth reports problems with the picture.
          () => undefined,
        );
    return () => {
      current = false;
    };
  });
  return () => {
    stopDepth();
    stopPhoto();
  };
}

async function load(id: string, given: boolean, signal: AbortSignal): Promise<void> {
  depth.value = { state: "loading" };
  try {
    const kept = await files.get<DepthField>(paintingName(id));
    const field = kept ?? (await readField(id, given, signal));
    if (signal.aborted) return;
    const painting = new DepthPainting(field);
    painting.subscribe((region) => {
      // The stroke has not ended.
      if (region !== null && painting.isStroking) return;
      strokes.value += 1;
      attempt(files.put(paintingName(id), painting.painted || kept ? painting.field : undefined));
    });
    depth.value = { state: "ready", painting, restored: kept !== null };
  } catch (error) {
    if (signal.aborted) return;
    const told = !(error instanceof ServerAwayError) && error instanceof Error;
    depth.value = { state: "failed", message: told ? error.message : null };
  }
}

async function readField(id: string, given: boolean, signal: AbortSignal): Promise<DepthField> {
  if (!given) return fieldFromNpy(await api.rawDepth(await fileOf(id), signal), "estimate");
  try {
    return fieldFromNpy(await api.blobMap(id, signal), "given");
  } catch (error) {
    if (!isGone(error)) throw error;
    await uploadAgain(id);
    return fieldFromNpy(await api.blobMap(id, signal), "given");
  }
}
