/** How a field becomes the grey values of the map that the model sees; the server's options by the same meaning. */
export interface Levels {
  /** Percentile of the field that becomes white. */
  readonly near: number;
  /** Percentile of the field that becomes black. */
  readonly far: number;
  /** Above 1 gives distant areas more contrast, below 1 near areas. */
  readonly gamma: number;
  /** Whether far becomes white. */
  readonly invert: boolean;
}

/** Levels that change nothing. */
export const neutralLevels: Levels = { near: 100, far: 0, gamma: 1, invert: false };

/** The values of gamma that the server accepts. */
export const gammaLimits = { min: 0.01, max: 100 };

/** The smallest distance between far and near, in percent. */
export const leastSpread = 0.01;

export const isNeutral = ({ near, far, gamma, invert }: Levels): boolean =>
  near === neutralLevels.near && far === neutralLevels.far && gamma === neutralLevels.gamma && !invert;

/** The values of a field that become black and white. */
export interface ValueRange {
  readonly min: number;
  readonly max: number;
}

/**
 * The grey value of one value of a field: the formula of the server's `depth/adjustments.ts`, which the shaders repeat
 * (`stage/levels.glsl.ts`).
 * @param range the values that become black and white
 */
export function levelled(value: number, { min, max }: ValueRange, { gamma, invert }: Levels): number {
  const inside = Math.min(Math.max((value - min) / (max - min), 0), 1);
  const curved = gamma === 1 ? inside : inside ** (1 / gamma);
  return invert ? 1 - curved : curved;
}

/** The position between black and white, 0 to 1, that gamma turns into middle grey. */
export const middleOf = (gamma: number): number => 0.5 ** gamma;

/** The gamma that turns a position between black and white into middle grey; the inverse of {@link middleOf}. */
export function gammaOfMiddle(position: number): number {
  const gamma = Math.log(position) / Math.log(0.5);
  return Math.min(Math.max(gamma, gammaLimits.min), gammaLimits.max);
}
