import { maxSeed } from "./table.js";

/** The seed a number of places after another. The largest is followed by 1, because 0 stands for a random one. */
export const seedAfter = (seed: number, places: number): number => 1 + ((seed - 1 + places) % maxSeed);

/** Different seeds: the first, and those that follow it. */
export const seedsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => seedAfter(first, i));
