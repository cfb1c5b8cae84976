/*
 * The depth that the person looks at and paints: estimated from the photo or given, and kept with its strokes.
 */
import { effect, signal, untracked } from "@preact/signals";
import { type DepthField, DepthPainting, decodePicture, fieldFromNpy } from "../canvas/index.js";
import { api, RefusedError, ServerAwayError } from "./api.js";
import { draft, mainPicture } from "./draft.js";
import { fileOf, paintingName, uploadAgain } from "./pictures.js";
import { files } from "./storage.js";

export type DepthState =
  | { readonly state: "none" }
  | { readonly state: "loading" }
  | {
      readonly state: "ready";
      readonly painting: DepthPainting;
      /** Whether the strokes of an earlier visit are part of the field. */
      readonly restored: boolean;
    }
  | { readonly state: "failed"; readonly message: string | null };

export const depth = signal<DepthState>({ state: "none" });

/** The draft's photo, decoded; the depth map's own picture where there is no photo. */
export const photoBitmap = signal<ImageBitmap | null>(null);

/** Grows with every stroke, undo and redo. */
export const strokes = signal(0);

/** Whether the map differs from the one that the server would make itself. */
export function isPainted(): boolean {
  void strokes.value;
  const { value } = depth;
  return value.state === "ready" && (value.restored || value.painting.painted);
}

/** The upload whose depth is shown. */
const sourceOf = (): string | null => (draft.value.map ?? draft.value.photo)?.id ?? null;

const attempts = signal(0);

/** Loads the depth again after a failure. */
export function retryDepth(): void {
  attempts.value += 1;
}

/** Throws the strokes away. */
export async function resetPainting(): Promise<void> {
  const source = sourceOf();
  if (!source) return;
  await files.put(paintingName(source), null);
  retryDepth();
}

/** Follows the draft's pictures. */
export function followPictures(): () => void {
  const stopDepth = effect(() => {
    const source = sourceOf();
    void attempts.value;
    const stop = new AbortController();
    if (source) void untracked(() => load(source, draft.value.map !== null, stop.signal));
    else depth.value = { state: "none" };
    return () => stop.abort();
  });
  const stopPhoto = effect(() => {
    const id = mainPicture(draft.value)?.id;
    let current = true;
    photoBitmap.value = null;
    if (id)
      void fileOf(id)
        .then(decodePicture)
        .then(
          (bitmap) => {
            if (current) photoBitmap.value = bitmap;
          },
          // The depth says what is wrong with the picture.
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

async function load(source: string, given: boolean, signal: AbortSignal): Promise<void> {
  depth.value = { state: "loading" };
  try {
    const kept = await files.get<DepthField>(paintingName(source));
    const field = kept ?? (await readField(source, given, signal));
    if (signal.aborted) return;
    const painting = new DepthPainting(field);
    painting.subscribe((region) => {
      // The stroke has not ended.
      if (region !== null && painting.isStroking) return;
      strokes.value += 1;
      void files.put(paintingName(source), painting.painted || kept ? painting.field : null);
    });
    depth.value = { state: "ready", painting, restored: kept !== null };
  } catch (error) {
    if (signal.aborted) return;
    const told = !(error instanceof ServerAwayError) && error instanceof Error;
    depth.value = { state: "failed", message: told ? error.message : null };
  }
}

async function readField(source: string, given: boolean, signal: AbortSignal): Promise<DepthField> {
  if (!given) return fieldFromNpy(await api.rawDepth(await fileOf(source), signal), "estimate");
  try {
    return fieldFromNpy(await api.blobMap(source, signal), "given");
  } catch (error) {
    if (!(error instanceof RefusedError && error.status === 404)) throw error;
    await uploadAgain(source);
    return fieldFromNpy(await api.blobMap(source, signal), "given");
  }
}
