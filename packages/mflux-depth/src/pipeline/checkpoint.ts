import { OptionError } from "../errors.js";
import { isRecord } from "../record.js";
import { type LatentGrid, latentShape } from "../sampling/latents.js";
import type { DepthMap, Latents } from "./result.js";

/**
 * The state of a generation between two steps. Together with the request it is enough to continue: Euler's method is
 * deterministic, so on the same kind of machine the image equals that of a generation that was never interrupted.
 */
export interface Checkpoint {
  /** Steps taken, as events count them: 1 to the number of steps. */
  readonly step: number;
  /** The latents after that step. */
  readonly latents: Latents;
  /** The depth map in use, at the size of the image; without it, it is made from the request again. */
  readonly depthMap?: DepthMap | null | undefined;
}

/** The properties of a generation that a checkpoint has to match. */
interface Resumed {
  /** The denoising steps of the whole generation. */
  readonly steps: number;
  readonly grid: LatentGrid;
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
}

/**
 * Checks that a checkpoint belongs to a generation.
 * @throws {OptionError} naming the mismatch.
 */
export function requireCheckpoint(checkpoint: Checkpoint, generation: Resumed): void {
  const reason = isRecord(checkpoint) ? mismatch(checkpoint, generation) : "it is not a checkpoint";
  if (reason !== null) throw new OptionError("resume", `resume does not belong to this request: ${reason}.`);
}

function mismatch(
  { step, latents, depthMap }: Checkpoint,
  { steps, grid, width, height }: Resumed,
): string | null {
  if (!(Number.isInteger(step) && step >= 1 && step <= steps))
    return `its step is ${step}, and the steps are 1 to ${steps}`;
  const shape = latentShape(grid);
  const count = shape.reduce((product, n) => product * n, 1);
  if (`${latents?.shape}` !== `${shape}` || latents.data?.length !== count)
    return `its latents are not of the shape [${shape.join(", ")}]`;
  if (!latents.data.every(Number.isFinite)) return "its latents have values that are not finite";
  if (!depthMap) return null;
  const fits = depthMap.width === width && depthMap.height === height;
  return fits && depthMap.data?.length === width * height
    ? null
    : `its depth map is not ${width} × ${height} pixels`;
}
