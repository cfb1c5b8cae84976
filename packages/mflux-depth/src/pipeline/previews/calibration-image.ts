import type { FloatImage } from "../../images/types.js";

/** The number of opaque, overlapping discs. */
const discs = 220;

/**
 * Draws an image with the statistics of photographs but without their subjects: overlapping discs of all sizes and
 * colours, softly shaded (the dead leaves model: Lee, Mumford and Huang, 2001). Flat areas, edges and gradients occur
 * at every scale, so a fit to it also suits photographs.
 * @param size pixels of each side
 * @returns three channels
 */
export function calibrationImage(size: number): FloatImage {
  const random = randomNumbers();
  const data = new Float32Array(size * size * 3);
  for (let disc = 0; disc < discs; disc++) {
    const [x, y] = [random() * size, random() * size];
    // The first disc is the background; areas of the others follow a power law.
    const radius = disc === 0 ? 2 * size : size * Math.min(0.5, 0.03 / Math.sqrt(random() + 1e-3));
    const colour = randomColour(random);
    const [east, south] = [shade(random, radius, size), shade(random, radius, size)];
    const [top, bottom] = [Math.max(0, Math.floor(y - radius)), Math.min(size, y + radius)];
    const [left, right] = [Math.max(0, Math.floor(x - radius)), Math.min(size, x + radius)];
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) {
        const [dx, dy] = [column - x, row - y];
        if (dx * dx + dy * dy > radius * radius) continue;
        const light = east * dx + south * dy;
        for (let c = 0; c < 3; c++)
          data[(row * size + column) * 3 + c] = Math.min(Math.max(colour[c]! + light, 0), 1);
      }
  }
  return { data, width: size, height: size, channels: 3 };
}

/** The change of a disc's lightness per pixel: up to a third from its middle to its edge. */
const shade = (random: () => number, radius: number, size: number): number =>
  (0.6 * (random() - 0.5)) / Math.min(radius, size);

/** A colour of random hue and lightness, more often pale than saturated. */
function randomColour(random: () => number): readonly [number, number, number] {
  const [value, saturation, hue] = [random(), random() ** 2, 6 * random()];
  const channel = (offset: number): number => {
    const k = (offset + hue) % 6;
    return value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1)));
  };
  return [channel(5), channel(3), channel(1)];
}

/** The same sequence every time, in [0, 1): a linear congruential generator (Numerical Recipes). */
function randomNumbers(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
