import { basename, isAbsolute } from "node:path";
import { backend } from "@mflux-depth/mlx";
import type { Repository } from "../hub/repository.js";
import type { PictureParameters } from "../images/metadata.js";
import type { ImageInput } from "../options/index.js";
import { packageVersion } from "../version.js";
import type { FinishedGeneration } from "./runner.js";
import type { Generation } from "./stage.js";

/** A repository's name. Of a folder given by its absolute path, only the last part, because the rest is private. */
export const publicName = (name: string): string => (isAbsolute(name) ? basename(name) : name);

/** The name of an image's file. Its folder stays private; the hash identifies the image. */
const fileName = (image: ImageInput | undefined): string | null =>
  typeof image === "string" ? basename(image) : null;

/** The parameters of a generation, in the form written into its image. */
export function parametersOf(
  { request, images, model }: Generation,
  { promptTokens, timings }: FinishedGeneration,
  names: { readonly model: Repository; readonly estimator: string },
): PictureParameters {
  const { load: _, ...stageSeconds } = timings;
  const { depthMap, photo } = images;
  const { precision, device } = model;
  return {
    mflux_depth_version: packageVersion(),
    model: publicName(names.model.name),
    revision: names.model.revision ?? null,
    prompt: request.prompt,
    seed: request.latents ? null : request.seed,
    steps: request.steps,
    guidance: request.guidance,
    width: request.width,
    height: request.height,
    max_sequence_length: promptTokens,
    quantize: precision.bits,
    int8: precision.int8,
    precision: precision.dtype,
    device,
    lora_paths: model.loras.states.map(({ name }) => name),
    lora_scales: model.loras.states.map(({ scale }) => scale),
    lora_sha256: model.loras.states.map(({ sha256 }) => sha256),
    image_path: photo && fileName(request.image),
    image_sha256: photo?.sha256 ?? null,
    image_strength: request.imageStrength > 0 ? request.imageStrength : null,
    mask_image_path: fileName(request.maskImage),
    mask_image_sha256: images.mask?.sha256 ?? null,
    depth_image_path: fileName(request.depthImage),
    depth_image_sha256: depthMap?.sha256 ?? null,
    depth_inverted: request.invertDepth,
    depth_near: request.depthNear,
    depth_far: request.depthFar,
    depth_gamma: request.depthGamma,
    depth_strength: request.depthStrength,
    depth_start: request.depthStart,
    depth_stop: request.depthStop,
    fit: request.fit,
    depth_source: depthMap ? "map" : "photo",
    depth_model: depthMap ? null : publicName(names.estimator),
    fidelity: null,
    mlx_version: backend().version,
    generation_time_seconds: Object.values(stageSeconds).reduce((sum, seconds) => sum + seconds, 0),
    stage_seconds: stageSeconds,
    created_at: new Date().toISOString(),
  };
}
