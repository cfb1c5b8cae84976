/*
 * From a job, or from the parameters in an image, back to the draft.
 */
import type { JobObject, JsonOptions } from "@mflux-depth/server/contract";
import { batch } from "@preact/signals";
import { api } from "./api.js";
import { requestFields, usualArea } from "./capabilities.js";
import { type Draft, draft, edit, type Picture } from "./draft.js";
import { fieldNamed } from "./fields.js";
import { blobOf, levelsOf } from "./job-body.js";
import { takeMask } from "./mask.js";
import { fileOf, takePicture } from "./pictures.js";
import { showDraft } from "./shown.js";
import { sizeOf } from "./size.js";

export type Reuse = "all" | "all-but-seed" | "depth";

/** Options that the draft keeps elsewhere than among its options. */
const elsewhere = new Set([
  ...["prompt", "size", "fit", "width", "height", "image", "depth_image", "trust_depth"],
  ...["depth_near", "depth_far", "depth_gamma", "invert_depth"],
]);

/** Takes a job's settings into the draft. */
export async function reuseJob({ request, load, seed }: JobObject, what: Reuse): Promise<void> {
  const [photo, map] = await Promise.all([pictureOf(request, "image"), pictureOf(request, "depth_image")]);
  const mask = photo && (await maskOf(request));
  const changes: Partial<Draft> = {
    photo,
    map,
    masked: false,
    trusted: request.trust_depth === true,
    levels: levelsOf(request),
  };
  batch(() => {
    edit(
      what === "depth"
        ? changes
        : {
            ...changes,
            prompt: String(request.prompt),
            request: optionsOf(request, what === "all" ? seed : null),
            load: withoutNulls(load),
            size: sizeChoiceOf(request, photo ?? map),
            ...fitOf(request),
          },
    );
    showDraft("depth");
  });
  // It belongs to the photo, which is in the draft by now.
  if (mask) await takeMask(mask);
}

/** The mask of a job, unless the server has forgotten it. */
async function maskOf(request: JsonOptions): Promise<Blob | null> {
  const id = blobOf(request, "mask_image");
  return id === null ? null : api.blob(id).catch(() => null);
}

async function pictureOf(request: JsonOptions, option: "image" | "depth_image"): Promise<Picture | null> {
  const id = blobOf(request, option);
  if (!id) return null;
  const bitmap = await createImageBitmap(await fileOf(id));
  const { width, height } = bitmap;
  bitmap.close();
  return { id, name: option === "image" ? "photo" : "depth", width, height };
}

/** The options that differ from the defaults. */
function optionsOf(request: JsonOptions, seed: number | null): JsonOptions {
  const kept = Object.entries(request).filter(([name, value]) => {
    if (elsewhere.has(name) || name === "seed" || value === null) return false;
    // Options without a form field, such as the scales of LoRAs, also shaped the image.
    return fieldNamed(requestFields.value, name)?.default !== value;
  });
  return { ...Object.fromEntries(kept), ...(seed !== null && { seed }) };
}

const withoutNulls = (options: JsonOptions): JsonOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));

/** A job of another client may stretch; the studio does not. */
const fitOf = ({ fit }: JsonOptions): Pick<Draft, "fit"> | null =>
  fit === "crop" || fit === "pad" ? { fit } : null;

/** A size that equals the one derived from the picture stays automatic. */
function sizeChoiceOf(request: JsonOptions, picture: Picture | null): Draft["size"] {
  const [width, height] = [Number(request.width), Number(request.height)];
  if (!(width > 0 && height > 0)) return { mode: "auto" };
  const usual = sizeOf(picture ? picture.width / picture.height : 1, usualArea.value);
  return usual.width === width && usual.height === height
    ? { mode: "auto" }
    : { mode: "custom", width, height };
}

/** Copies the parameters stored in an image to the draft, with its photo or map if the server still has them. */
export async function reuseParameters(parameters: Readonly<Record<string, unknown>>): Promise<void> {
  const known = Object.entries(parameters).filter(
    ([name, value]) =>
      fieldNamed(requestFields.value, name) !== undefined &&
      !elsewhere.has(name) &&
      ["number", "boolean"].includes(typeof value),
  );
  const [width, height] = [Number(parameters.width), Number(parameters.height)];
  edit({
    prompt: String(parameters.prompt),
    request: Object.fromEntries(known) as JsonOptions,
    ...(width > 0 && height > 0 && { size: { mode: "custom", width, height } }),
  });
  // The photo replaces the earlier pictures; its depth map then joins it.
  await restore(parameters.image_sha256, "photo");
  await restore(parameters.depth_image_sha256, "depth");
  edit({
    levels: levelsOf({ ...(parameters as JsonOptions), invert_depth: parameters.depth_inverted === true }),
  });
  showDraft("depth");
}

async function restore(sha256: unknown, kind: "photo" | "depth"): Promise<void> {
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) return;
  const file = await api.blob(`sha256-${sha256}`).catch(() => null);
  if (file) await takePicture(new File([file], kind), kind);
}

/** Makes a finished image the photo of the draft. */
export async function useAsInput(job: JobObject): Promise<void> {
  if (!job.image) return;
  const file = await api.file(job.image.url);
  await takePicture(new File([file], `${job.id}.png`, { type: file.type }), "photo");
  showDraft("depth");
}

/** Returns every option to its default; pictures and prompt stay. */
export function resetOptions(): void {
  edit({ request: {}, load: {}, size: { mode: "auto" }, fit: draft.value.fit });
}
