/** How a field becomes the grey values of the map that the model sees; the server's options, with the same meaning. */
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

export const isNeutral = ({ near, far, gamma, invert }: Levels): boolean =>
  near === neutralLevels.near && far === neutralLevels.far && gamma === neutralLevels.gamma && !invert;

/** Levels resolved for one field: the curve from its values to grey values. */
export interface ToneCurve {
  /** The value that becomes black. */
  readonly black: number;
  /** The value that becomes white; above `black`. */
  readonly white: number;
  readonly gamma: number;
  /** The sum of the darkest and the brightest grey, around which an inverted map is mirrored; null when not inverted. */
  readonly mirror: number | null;
}

/**
 * The grey value of a value, 0 to 1: the formula of the library's `depth/adjustments.ts`. It is repeated here and in
 * `stage/shaders.ts`: the library adjusts whole float32 arrays in fixed steps, whose rounding affects the pixels of
 * images, while the page needs single values, on the GPU and in every frame. Tests compare the three.
 */
export function grey(value: number, curve: ToneCurve): number {
  const shaped = unmirrored(value, curve);
  return curve.mirror === null ? shaped : curve.mirror - shaped;
}

/** {@link grey} before the map is inverted. */
export function unmirrored(value: number, { black, white, gamma }: Omit<ToneCurve, "mirror">): number {
  const inside = Math.min(Math.max((value - black) / (white - black), 0), 1);
  return gamma === 1 ? inside : inside ** (1 / gamma);
}

/** The position between black and white, 0 to 1, that gamma turns into middle grey. */
export const middleOf = (gamma: number): number => 0.5 ** gamma;

/** The gamma that turns a position between black and white into middle grey; the inverse of {@link middleOf}. */
export function gammaOfMiddle(position: number): number {
  const gamma = Math.log(position) / Math.log(0.5);
  return Math.min(Math.max(gamma, gammaLimits.min), gammaLimits.max);
}
