import { OptionError } from "../errors.js";
import type { ResolvedRequest } from "../options/index.js";
import { type LatentGrid, latentShape } from "../sampling/latents.js";
import type { Model } from "./model/model.js";

/**
 * The latent grid of a request. `width` and `height` are in pixels.
 * @throws {OptionError} if the size is not a whole number of the model's tokens.
 */
export function latentGridOf(
  { width, height }: Pick<ResolvedRequest, "width" | "height">,
  { family, configs }: Pick<Model, "family" | "configs">,
): LatentGrid {
  const multiple = family.pixelsPerToken(configs);
  for (const [name, pixels] of Object.entries({ width, height }))
    if (pixels % multiple !== 0)
      throw new OptionError(name, `${name} is ${pixels}; this model needs a multiple of ${multiple}.`);
  return family.latentGrid({ width, height }, configs);
}

/**
 * Checks that the latents of a request, if any, fill the grid.
 * @throws {OptionError} when they have another shape or size.
 */
export function requireLatentSize({ latents }: Pick<ResolvedRequest, "latents">, grid: LatentGrid): void {
  if (!latents) return;
  const expected = latentShape(grid);
  if (latents instanceof Float32Array) {
    const count = expected.reduce((product, n) => product * n, 1);
    if (latents.length !== count)
      throw new OptionError(
        "latents",
        `latents has ${latents.length} values; this size needs ${count}, ${listed(expected)}.`,
      );
  } else if (listed(latents.shape) !== listed(expected))
    throw new OptionError(
      "latents",
      `latents has the shape ${listed(latents.shape)}; this size needs ${listed(expected)}.`,
    );
}

const listed = (shape: readonly number[]): string => `[${shape.join(", ")}]`;
