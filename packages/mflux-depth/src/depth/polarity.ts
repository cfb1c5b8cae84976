import type { Warning } from "../errors.js";
import { bilinear, resize } from "../images/resample.js";
import type { Raster } from "../images/types.js";

/** The width and height to which maps are reduced before the check. */
const glance = 32;

const atAGlance = (map: Raster): Float32Array => resize(map, glance, glance, bilinear).data;

/**
 * Checks whether a user's depth map looks inverted. Compares it with the depth estimated from a photo of the same scene
 * if there is one. Otherwise, the map looks inverted if its borders are brighter than its middle over most of the image.
 * @param map one channel, any range
 * @param source names the map in messages
 * @param known.inferred inverse depth of the photo, one channel
 * @param known.exchanged whether invertDepth has been applied
 * @returns a warning with a remedy, or null
 */
export function polarityWarning(
  map: Raster,
  source: string,
  { inferred, exchanged = false }: { inferred?: Raster | undefined; exchanged?: boolean } = {},
): Warning | null {
  const values = atAGlance(map);
  if (inferred) {
    const agree = covariance(values, atAGlance(inferred)) >= 0;
    return agree ? null : inverted(source, "it disagrees with the photo's depth", exchanged);
  }
  return farLooksWhite(values)
    ? inverted(source, "it is brighter at its borders than in the middle", exchanged)
    : null;
}

const inverted = (source: string, reason: string, exchanged: boolean): Warning => ({
  message: `${source} looks inverted: ${reason}.`,
  remedies: [
    exchanged
      ? { kind: "omit-option", option: "invertDepth", condition: "white means near in this file" }
      : {
          kind: "set-option",
          option: "invertDepth",
          value: true,
          condition: "white means far in this file",
        },
  ],
});

/** The covariance, which has the sign of the correlation. */
function covariance(a: Float32Array, b: Float32Array): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  return mean(a.map((value, i) => (value - meanA) * (b[i]! - meanB)));
}

const mean = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
};

/**
 * Whether a given depth map, judged by itself, looks as if white meant far. The studio's page bundles this function, so
 * that both agree.
 * @param map one channel, any range
 */
export const looksInverted = (map: Raster): boolean => farLooksWhite(atAGlance(map));

/**
 * Whether a map looks inverted without a photo to compare. Most images show near things in the middle and at the
 * bottom. So a row is suspicious if its ends are brighter than its middle, and a column if its top is brighter (the
 * ground at the bottom is near). The map looks inverted if most lines are suspicious and the upper half is brighter
 * than the lower.
 */
function farLooksWhite(values: Float32Array): boolean {
  const lines = Array.from({ length: glance }, (_, i) => i);
  const [edge, inner] = [glance / 8, glance / 4];
  const middle = (line: number[]): number => mean(line.slice(inner, -inner));
  const across = lines.map((y) => lines.map((x) => values[y * glance + x]!));
  const down = lines.map((x) => lines.map((y) => values[y * glance + x]!));
  const suspicious =
    across.filter((line) => mean([...line.slice(0, edge), ...line.slice(-edge)]) > middle(line)).length +
    down.filter((line) => mean(line.slice(0, edge)) > middle(line)).length;
  const half = values.length / 2;
  const topBrighter = mean(values.subarray(0, half)) > mean(values.subarray(half));
  return topBrighter && suspicious > glance;
}
