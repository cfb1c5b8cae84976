/* The draft's pictures: reads and stores files, and decides whether one is a photo or a depth map. */
import { batch, computed, signal } from "@preact/signals";
import { classifyPicture, decodePicture } from "../canvas/index.js";
import { parametersIn } from "../parameters/index.js";
import { api, ServerAwayError } from "./api.js";
import { draft, edit, type Picture, type Sources, withPictures } from "./draft.js";
import { files } from "./storage.js";

export type PictureKind = "photo" | "depth";

/** How the last file was classified, until the person dismisses it. */
export const taken = signal<{
  readonly picture: Picture;
  readonly kind: PictureKind;
  /** Whether the classification should be checked. */
  readonly uncertain: boolean;
  /** The draft's earlier pictures, which are restored if the file is reclassified. */
  readonly before: Sources;
} | null>(null);

/** A dropped picture made by mflux-depth, whose settings can be restored. */
export const remembered = signal<{
  readonly file: File;
  readonly parameters: Readonly<Record<string, unknown>>;
} | null>(null);

/** Whether a file is being uploaded. */
export const isTaking = signal(false);

/** Why the last file was refused. */
export const takingError = signal<TakingError | null>(null);
export type TakingError = "unreadable" | "away" | { readonly message: string };

/** Uses a file as a photo or depth map. For a picture made by mflux-depth, offers its settings first. */
export async function takeFile(file: File): Promise<void> {
  takingError.value = null;
  // Folders and deleted files cannot be read.
  const bytes = await file.arrayBuffer().catch(() => null);
  if (!bytes) {
    takingError.value = "unreadable";
    return;
  }
  const parameters = parametersIn(new Uint8Array(bytes));
  if (parameters) remembered.value = { file, parameters };
  else await takePicture(file);
}

/** Uses a file as a picture, ignoring its settings. */
export const takePicture = (file: File, as?: PictureKind): Promise<void> =>
  taking(async (isLast) => {
    const bitmap = await decodePicture(file).catch(() => null);
    if (!bitmap) {
      takingError.value = "unreadable";
      return;
    }
    const judged = await classifyPicture(file, bitmap);
    bitmap.close();
    const picture = await upload(file);
    if (!isLast()) return;
    const kind = as ?? judged.kind;
    batch(() => {
      const before = sourcesOf(draft.value);
      usePicture(picture, kind);
      taken.value = { picture, kind, uncertain: as === undefined && judged.confidence < 0.9, before };
    });
  });

/** Uses a photo and its depth map together. @param read returns the two files, and other changes of the draft */
export const takePair = (
  read: () => Promise<{ readonly photo: File; readonly map: File }>,
  then: () => void,
): Promise<void> =>
  taking(async (isLast) => {
    const files = await read();
    const [photo, map] = await Promise.all([upload(files.photo), upload(files.map)]);
    if (!isLast()) return;
    batch(() => {
      edit(withPictures({ photo, map }));
      then();
      taken.value = null;
    });
  });

async function upload(file: File): Promise<Picture> {
  const { id, width, height } = await api.upload(file);
  await files.put(id, file);
  return { id, name: file.name, width, height };
}

/** Increases with every picture; if two are being read, the later one wins. */
let takings = 0;

async function taking(work: (isLast: () => boolean) => Promise<void>): Promise<void> {
  const mine = ++takings;
  const isLast = (): boolean => mine === takings;
  batch(() => {
    isTaking.value = true;
    takingError.value = null;
    remembered.value = null;
  });
  try {
    await work(isLast);
    await files.forgetUnused();
  } catch (error) {
    if (isLast()) takingError.value = takingErrorOf(error);
  } finally {
    if (isLast()) isTaking.value = false;
  }
}

const takingErrorOf = (error: unknown): TakingError =>
  error instanceof ServerAwayError
    ? "away"
    : { message: error instanceof Error ? error.message : String(error) };

const sourcesOf = ({ photo, map, trusted, masked, levels }: Sources): Sources => ({
  photo,
  map,
  trusted,
  masked,
  levels,
});

/** Puts a picture into the draft. A depth map joins the photo if both have the same aspect ratio. */
function usePicture(picture: Picture, kind: PictureKind): void {
  if (kind === "photo") {
    edit(withPictures({ photo: picture, map: null }));
    return;
  }
  const { photo } = draft.value;
  const pair = photo && Math.abs((photo.width * picture.height) / (photo.height * picture.width) - 1) < 0.02;
  edit({
    ...withPictures({ map: picture, photo: pair ? photo : null }),
    masked: pair === true && draft.value.masked,
  });
}

/** Reclassifies the last picture, as if it had been classified so at once. */
export function correctKind(): void {
  const last = taken.value;
  if (!last) return;
  const kind = last.kind === "photo" ? "depth" : "photo";
  batch(() => {
    edit(last.before);
    usePicture(last.picture, kind);
    taken.value = { ...last, kind, uncertain: false };
  });
}

/** Removes the pictures from the draft. */
export function clearPictures(): void {
  batch(() => {
    edit(withPictures({ photo: null, map: null }));
    taken.value = null;
  });
}

/**
 * The file of a picture: from this browser, or from the server.
 * @throws {RefusedError} if neither has it any more
 */
export async function fileOf(id: string): Promise<Blob> {
  const kept = await files.get<Blob>(id);
  if (kept) return kept;
  const file = await api.blob(id);
  await files.put(id, file);
  return file;
}

/** Uploads a picture again if the server no longer has it: it deletes pictures that no job has used for a day. */
export async function uploadAgain(id: string): Promise<void> {
  const file = await files.get<Blob>(id);
  if (file) await api.upload(file);
}

/** The name under which the painted depth of a picture is stored. */
export const paintingName = (id: string): string => `painting:${id}`;

export const hasPicture = computed(() => draft.value.photo !== null || draft.value.map !== null);
