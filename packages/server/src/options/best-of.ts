import { seedsFrom } from "mflux-depth/options";
import type { JsonOptions } from "../contract/index.js";

/** How many images a job makes to find the most faithful one: 1 for a job that compares nothing. */
export const bestOfCount = ({ best_of: count }: JsonOptions): number =>
  // Jobs older than the option lack it.
  typeof count === "number" ? count : 1;

/** The seeds of the images of a generation, in the order in which they are made. */
export const seedsOf = (seed: number, request: JsonOptions): readonly number[] =>
  seedsFrom(seed, bestOfCount(request));
