import { OptionError } from "../errors.js";
import { checkOptions } from "./check.js";
import { defaultStrength } from "./defaults.js";
import { loadOptions, requestOptions } from "./table.js";
import type {
  GenerateRequest,
  LoadOptions,
  RequestDefaults,
  ResolvedLoadOptions,
  ResolvedRequest,
} from "./types.js";
import type { ModelReference, TensorInput } from "./values.js";

/**
 * Checks a request, fills in defaults, floors the size and draws a seed in place of 0. Images are checked when they
 * are read.
 * @param defaults override the table's: those of the model's family, once it is known.
 * @throws {OptionError} for an invalid value, or options that contradict each other.
 */
export function resolveRequest(request: GenerateRequest, defaults: RequestDefaults = {}): ResolvedRequest {
  const given = Object.entries(request).filter(([, value]) => value !== undefined && value !== null);
  const values = checkOptions(requestOptions, { ...defaults, ...Object.fromEntries(given) });
  const { image, depthImage, latents } = values;
  const warnings: string[] = [];

  requireDepthSource(values);
  requireNearAboveFar(values.depthNear, values.depthFar, ["depthNear", "depthFar"]);

  if (values.depthStart >= values.depthStop)
    throw new OptionError(
      "depthStop",
      `depthStop (${values.depthStop}) must be above depthStart (${values.depthStart}): the map guides between them.`,
    );

  const both = image !== undefined && depthImage !== undefined;
  const imageStrength = values.imageStrength ?? (both ? defaultStrength : 0);
  if (imageStrength > 0 && image === undefined)
    throw new OptionError(
      "imageStrength",
      `There is no photo to start from, but the image strength is ${imageStrength}.`,
      {
        code: "option-conflict",
        details: { remedies: [{ kind: "omit-option", option: "imageStrength" }] },
      },
    );

  requirePhotoForMask(values);

  const floored = (name: "width" | "height"): number => {
    const { floorTo } = requestOptions[name].kind;
    const multiple = Math.floor(values[name] / floorTo) * floorTo;
    if (multiple !== values[name])
      warnings.push(`${name} ${values[name]} is not a multiple of ${floorTo}; using ${multiple}.`);
    return multiple;
  };
  const [width, height] = [floored("width"), floored("height")];

  if (latents && !valuesOf(latents).every(Number.isFinite))
    throw new OptionError("latents", "latents must hold finite numbers; some of its values are not.");

  return { ...values, imageStrength, width, height, seed: values.seed || randomSeed(), warnings };
}

/**
 * Checks the percentiles that become white and black.
 * @param names their options, for the message.
 * @throws {OptionError} when they are equal or in the wrong order.
 */
export function requireNearAboveFar(
  near: number,
  far: number,
  [nearName, farName]: readonly [near: string, far: string],
): void {
  if (far >= near)
    throw new OptionError(
      nearName,
      `${nearName} (${near}) must be above ${farName} (${far}), because near becomes white.`,
    );
}

/**
 * Checks that a request has a source of depth: a depth map or a photo.
 * @throws {OptionError} if it has none.
 */
export function requireDepthSource({
  image,
  depthImage,
}: Pick<GenerateRequest, "image" | "depthImage">): void {
  if (image || depthImage) return;
  throw new OptionError("depthImage", "There is neither a depth map nor a photo to estimate depth from.", {
    code: "option-missing",
    details: {
      remedies: [
        { kind: "set-option", option: "depthImage" },
        { kind: "set-option", option: "image", purpose: "estimate depth from a photo" },
      ],
    },
  });
}

/**
 * Checks that a request with a mask has a photo.
 * @throws {OptionError} if it has none.
 */
export function requirePhotoForMask({
  image,
  maskImage,
}: Pick<GenerateRequest, "image" | "maskImage">): void {
  if (image || !maskImage) return;
  throw new OptionError("maskImage", "A mask needs a photo: it marks the parts of the photo that change.", {
    code: "option-missing",
    details: { remedies: [{ kind: "set-option", option: "image" }] },
  });
}

/** The values of a tensor, row by row. */
export const valuesOf = (tensor: TensorInput): Float32Array =>
  tensor instanceof Float32Array ? tensor : tensor.data;

const randomSeed = (): number => {
  const [seed] = crypto.getRandomValues(new Uint32Array(1));
  return seed === undefined || seed === 0 ? randomSeed() : seed;
};

/**
 * Checks load options and fills in defaults.
 * @throws {OptionError} for an invalid value.
 */
export function resolveLoadOptions(options: LoadOptions): ResolvedLoadOptions {
  const { quantize: given = undefined } = options;
  const quantize = given === null ? "none" : given;
  const values = checkOptions(loadOptions, { ...options, quantize });
  const reference: ModelReference =
    typeof values.model === "string" ? { repo_id: values.model } : values.model;
  const { variant } = values;
  if (variant && reference.variant && reference.variant !== variant)
    throw new OptionError(
      "variant",
      `variant is ${variant}, but the model is given with variant ${reference.variant}.`,
      { code: "option-conflict" },
    );
  return {
    ...values,
    model: reference.repo_id,
    variant: variant || reference.variant || undefined,
    path: reference.path || undefined,
    allowPatterns: reference.allow_patterns ?? [],
    ignorePatterns: reference.ignore_patterns ?? [],
    quantize: values.quantize === "none" ? null : values.quantize,
    loras: (values.loras ?? []).map((lora) =>
      typeof lora === "string" ? { source: lora, scale: 1 } : { source: lora.source, scale: lora.scale ?? 1 },
    ),
  };
}
