import { maxSeed } from "./table.js";

/**
 * Different seeds: the first, and those that follow it. None is 0, which stands for a random seed.
 * @param first 1 to {@link maxSeed}
 */
export const seedsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => 1 + ((first - 1 + i) % maxSeed));
