/*
 * The part of the draft's photo that may change: painted by the person or read from a file, and stored with the photo.
 */
import { computed, effect, signal, untracked } from "@preact/signals";
import {
  blankMask,
  type DepthField,
  DepthPainting,
  decodePicture,
  freesSomething,
  invertedMask,
  readMask,
} from "../canvas/index.js";
import { draft, edit, type Picture } from "./draft.js";
import { attempt } from "./failures.js";
import { files } from "./storage.js";

/** The mask of the draft's photo; null while it has none. */
export const mask = signal<DepthPainting | null>(null);

/** Increases with every stroke on the mask. */
const strokes = signal(0);

/** Whether only a part may change but no part is selected. */
export const isMaskMissing = computed<boolean>(() => {
  void strokes.value;
  return mask.value !== null && !freesSomething(mask.value.field);
});

const nameOf = (photo: Picture): string => `mask:${photo.id}`;

/** The photo whose mask is shown. */
const masked = computed<Picture | null>(() => (draft.value.masked ? draft.value.photo : null));

/** Follows the draft's photo with its mask. */
export function followMask(): () => void {
  return effect(() => {
    const photo = masked.value;
    let current = true;
    mask.value = null;
    if (photo)
      attempt(
        keptMask(photo).then((field) => {
          if (current) show(photo, field);
        }),
      );
    return () => {
      current = false;
    };
  });
}

/** The stored mask of a photo, or one that keeps all of it. */
export const keptMask = async (photo: Picture): Promise<DepthField> =>
  (await files.get<DepthField>(nameOf(photo))) ?? blankMask(photo);

function show(photo: Picture, field: DepthField): void {
  const painting = new DepthPainting(field);
  painting.subscribe((region) => {
    // The stroke has not ended.
    if (region !== null && painting.isStroking) return;
    strokes.value += 1;
    attempt(files.put(nameOf(photo), painting.field));
  });
  mask.value = painting;
}

/** Replaces the mask. */
async function replace(make: (photo: Picture) => DepthField | Promise<DepthField>): Promise<void> {
  const { photo } = untracked(() => draft.value);
  if (!photo) return;
  const field = await make(photo);
  await files.put(nameOf(photo), field);
  if (draft.value.photo?.id !== photo.id) return;
  if (masked.value) show(photo, field);
  else edit({ masked: true });
}

/** Exchanges the kept and the changeable parts. */
export const invertMask = (): Promise<void> =>
  replace((photo) => invertedMask(mask.value?.field ?? blankMask(photo)));

/** Keeps the whole photo, to start over. */
export const clearMask = (): Promise<void> => replace(blankMask);

/** Reads a picture as the mask. @throws {DOMException} when the browser cannot decode it. */
export const takeMask = (file: Blob): Promise<void> =>
  replace(async (photo) => {
    const picture = await decodePicture(file);
    const field = readMask(picture, photo);
    picture.close();
    return field;
  });
