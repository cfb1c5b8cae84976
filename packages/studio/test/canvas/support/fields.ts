import type { DepthField } from "../../../src/canvas/field/depth-field.js";

/** A field by a function of its pixels. */
export function fieldOf(width: number, height: number, at: (x: number, y: number) => number): DepthField {
  const values = Float32Array.from({ length: width * height }, (_, i) =>
    at(i % width, Math.floor(i / width)),
  );
  return { width, height, values };
}

/** Numbers between 0 and 1 that look random and are the same in every run. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
