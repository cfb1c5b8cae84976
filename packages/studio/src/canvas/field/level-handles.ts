import {
  gammaLimits,
  gammaOfMiddle,
  type Levels,
  middleOf,
  neutralLevels,
  type ToneCurve,
} from "./levels.js";
import { percentile, percentileOf, type Statistics, toneCurve } from "./statistics.js";

/** The handles under a histogram. */
export type LevelHandle = "far" | "gamma" | "near";

/** How close far and near may come, as a share of all values. */
const closest = 1 / 256;

/** How close to black or white the handle of gamma may get, as a share of the distance between them. */
const margin = 0.02;

/** Two decimals are enough for percentiles: a hundredth of a percent of a megapixel is a hundred pixels. */
const rounded = (percent: number): number => Math.round(percent * 100) / 100;

/** The positions of the handles over the histogram, 0 to 1. */
export function handlePositions(statistics: Statistics, levels: Levels): Record<LevelHandle, number> {
  const curve = toneCurve(statistics, levels);
  const [far, near] = curve
    ? [curve.black, curve.white]
    : [percentile(statistics, levels.far), percentile(statistics, levels.near)];
  return { far, near, gamma: far + middleOf(levels.gamma) * (near - far) };
}

/**
 * The levels after a handle was dragged.
 * @param position of the handle over the histogram, 0 to 1
 */
export function dragged(
  statistics: Statistics,
  levels: Levels,
  handle: LevelHandle,
  position: number,
): Levels {
  const { far, near } = handlePositions(statistics, levels);
  if (handle === "gamma") {
    const share = near > far ? (position - far) / (near - far) : 0.5;
    const gamma = gammaOfMiddle(clamp(share, margin, 1 - margin));
    return { ...levels, gamma: Math.round(gamma * 100) / 100 };
  }
  const percent = rounded(
    percentileOf(
      statistics,
      handle === "far" ? clamp(position, 0, near - closest) : clamp(position, far + closest, 1),
    ),
  );
  const changed = { ...levels, [handle]: percent };
  return allowed(changed) && toneCurve(statistics, changed) ? changed : levels;
}

/** The levels after a number of arrow-key steps; a step is half a percent, or a twentieth of gamma. */
export function stepped(levels: Levels, handle: LevelHandle, steps: number): Levels {
  const changed =
    handle === "gamma"
      ? { ...levels, gamma: clamp(Math.round(levels.gamma * 1.05 ** steps * 100) / 100, 0.1, 10) }
      : { ...levels, [handle]: clamp(rounded(levels[handle] + steps / 2), 0, 100) };
  return allowed(changed) ? changed : levels;
}

/** The levels with one of them back at its default. */
export const resetLevel = (levels: Levels, handle: LevelHandle): Levels => ({
  ...levels,
  [handle]: neutralLevels[handle],
});

/** Whether the server accepts these levels: near above far, and gamma in range. */
export const allowed = ({ near, far, gamma }: Levels): boolean =>
  far >= 0 && near > far && near <= 100 && gamma >= gammaLimits.min && gamma <= gammaLimits.max;

/** The curve for drawing: grey values at even steps over the histogram. */
export function curvePoints(
  curve: ToneCurve,
  count: number,
  grey: (value: number) => number,
): { x: number; y: number }[] {
  return Array.from({ length: count + 1 }, (_, i) => ({ x: i / count, y: grey(i / count) }))
    .concat([
      { x: curve.black, y: grey(curve.black) },
      { x: curve.white, y: grey(curve.white) },
    ])
    .sort((a, b) => a.x - b.x);
}

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max);
