import type { Warning } from "../errors.js";
import { bilinear, resize } from "../images/resample.js";
import type { Raster } from "../images/types.js";

/** Side that maps are shrunk to before they are judged. */
const glance = 32;

const atAGlance = (map: Raster): Float32Array => resize(map, glance, glance, bilinear).data;

/**
 * Checks whether a map from the user seems to have far in white, where near should be. Compares it with the depth
 * estimated from a photo of the same scene if there is one. Otherwise, the map is suspicious if its borders are brighter
 * than its middle over most of the image.
 * @param map one channel, any range
 * @param source names the map in messages
 * @param known.inferred inverse depth of the photo, one channel
 * @param known.exchanged whether near and far have been exchanged already, as the user asked
 * @returns a warning that says how to correct it, or null
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
  message: `${source} looks inverted: ${reason}; near must be white: ${
    exchanged ? "if it is so in the file, leave out" : "if it is not, set"
  } invertDepth.`,
  remedies: [
    exchanged
      ? { kind: "omit-option", option: "invertDepth" }
      : { kind: "set-option", option: "invertDepth", value: true },
  ],
});

/** Has the sign of the correlation. */
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
 * Most images show near things in the middle and at the bottom. So a row is suspicious if its ends are brighter than its
 * middle, a column if its top is (at the bottom, the ground comes near), and the image if most of these lines are
 * suspicious and its upper half is the brighter one.
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
