/*
 * The draft's pictures: taking files, keeping them, and deciding whether one is a photo or a depth map.
 */
import { batch, computed, signal } from "@preact/signals";
import { classifyPicture, decodePicture, neutralLevels } from "../canvas/index.js";
import { parametersIn } from "../parameters/index.js";
import { api, RefusedError } from "./api.js";
import { draft, edit, type Picture } from "./draft.js";
import { files } from "./storage.js";

export type PictureKind = "photo" | "depth";

/** What the page took the last file for, until the person has seen enough of it. */
export const taken = signal<{
  readonly picture: Picture;
  readonly kind: PictureKind;
  /** Whether the person may want to look twice. */
  readonly uncertain: boolean;
} | null>(null);

/** A picture that mflux-depth made, dropped on the page: its settings can be had back. */
export const remembered = signal<{
  readonly file: File;
  readonly parameters: Readonly<Record<string, unknown>>;
} | null>(null);

/** A file that is on its way to the server. */
export const isTaking = signal(false);

/** Why the last file was not taken. */
export const takingError = signal<TakingError | null>(null);
export type TakingError = "unreadable" | "away" | { readonly message: string };

/** Takes a file as a photo or depth map; one that mflux-depth made is offered for its settings first. */
export async function takeFile(file: File): Promise<void> {
  takingError.value = null;
  const parameters = parametersIn(new Uint8Array(await file.arrayBuffer()));
  if (parameters) remembered.value = { file, parameters };
  else await takePicture(file);
}

/** Takes a file as a picture, whatever it remembers. */
export const takePicture = (file: File, as?: PictureKind): Promise<void> =>
  taking(async () => {
    const bitmap = await decodePicture(file).catch(() => null);
    if (!bitmap) {
      takingError.value = "unreadable";
      return;
    }
    const judged = await classifyPicture(file, bitmap);
    bitmap.close();
    const picture = await upload(file);
    const kind = as ?? judged.kind;
    batch(() => {
      usePicture(picture, kind);
      taken.value = { picture, kind, uncertain: as === undefined && judged.confidence < 0.9 };
    });
  });

/** Takes a photo and its depth map together. */
export const takePair = (photoFile: File, mapFile: File): Promise<void> =>
  taking(async () => {
    const [photo, map] = await Promise.all([upload(photoFile), upload(mapFile)]);
    batch(() => {
      edit({ photo, map, levels: neutralLevels });
      taken.value = null;
    });
  });

async function upload(file: File): Promise<Picture> {
  const { id, width, height } = await api.upload(file);
  await files.put(id, file);
  return { id, name: file.name, width, height };
}

async function taking(work: () => Promise<void>): Promise<void> {
  batch(() => {
    isTaking.value = true;
    takingError.value = null;
    remembered.value = null;
  });
  try {
    await work();
    await forgetUnused();
  } catch (error) {
    takingError.value = error instanceof RefusedError ? { message: error.message } : "away";
  } finally {
    isTaking.value = false;
  }
}

/** Puts a picture into the draft. A depth map joins the photo where both have the same proportions. */
function usePicture(picture: Picture, kind: PictureKind): void {
  if (kind === "photo") {
    edit({ photo: picture, map: null, levels: neutralLevels });
    return;
  }
  const { photo } = draft.value;
  const pair = photo && Math.abs((photo.width * picture.height) / (photo.height * picture.width) - 1) < 0.02;
  edit({ map: picture, photo: pair ? photo : null, levels: neutralLevels });
}

/** Takes the last picture for the other kind. */
export function correctKind(): void {
  const last = taken.value;
  if (!last) return;
  const kind = last.kind === "photo" ? "depth" : "photo";
  batch(() => {
    edit({ photo: null, map: null });
    usePicture(last.picture, kind);
    taken.value = { ...last, kind, uncertain: false };
  });
}

/** Takes the pictures out of the draft. */
export function clearPictures(): void {
  batch(() => {
    edit({ photo: null, map: null, levels: neutralLevels });
    taken.value = null;
  });
}

/**
 * The file of a picture: from this browser, or from the server.
 * @throws {RefusedError} when neither has it any more
 */
export async function fileOf(id: string): Promise<Blob> {
  const kept = await files.get<Blob>(id);
  if (kept) return kept;
  const file = await api.blob(id);
  await files.put(id, file);
  return file;
}

/** Makes sure that the server still has a picture; it deletes those that no job has used for a day. */
export async function uploadAgain(id: string): Promise<void> {
  const file = await files.get<Blob>(id);
  if (file) await api.upload(file);
}

/** Keeps the files of this draft only. */
async function forgetUnused(): Promise<void> {
  const { photo, map } = draft.value;
  const used = [photo, map].flatMap((picture) => (picture ? [picture.id] : []));
  await files.keepOnly([...used, ...used.map(paintingName)]);
}

/** The name under which the painted depth of a picture is kept. */
export const paintingName = (id: string): string => `painting:${id}`;

export const hasPicture = computed(() => draft.value.photo !== null || draft.value.map !== null);
