import assert from "node:assert/strict";
import { array, type MxArray } from "@mflux-depth/mlx";

/*
 * Images and feature maps in plain loops over numbers, in double precision: what image models are compared with at
 * sizes that no golden tensor has.
 */

/** Pixels or features, `[height, width, channels]`, in double precision. */
export interface Grid {
  data: Float64Array;
  height: number;
  width: number;
  channels: number;
}

export const grid = (height: number, width: number, channels: number): Grid => ({
  data: new Float64Array(height * width * channels),
  height,
  width,
  channels,
});

export function fill(
  like: [number, number, number],
  value: (y: number, x: number, c: number) => number,
): Grid {
  const out = grid(...like);
  let i = 0;
  for (let y = 0; y < out.height; y++)
    for (let x = 0; x < out.width; x++) for (let c = 0; c < out.channels; c++) out.data[i++] = value(y, x, c);
  return out;
}

export const pixelAt = (g: Grid, y: number, x: number, c: number): number =>
  g.data[(y * g.width + x) * g.channels + c]!;

/** Four neighbours, half-pixel centres. */
export function plainResize(
  g: Grid,
  height: number,
  width: number,
  step = [g.height / height, g.width / width],
): Grid {
  const position = (i: number, by: number, size: number): [number, number, number] => {
    const centre = Math.max((i + 0.5) * by - 0.5, 0);
    const low = Math.min(Math.floor(centre), size - 1);
    return [low, Math.min(low + 1, size - 1), centre - low];
  };
  return fill([height, width, g.channels], (y, x, c) => {
    const [top, bottom, down] = position(y, step[0]!, g.height);
    const [left, right, east] = position(x, step[1]!, g.width);
    const upper = pixelAt(g, top, left, c) * (1 - east) + pixelAt(g, top, right, c) * east;
    const lower = pixelAt(g, bottom, left, c) * (1 - east) + pixelAt(g, bottom, right, c) * east;
    return upper * (1 - down) + lower * down;
  });
}

export const toArray = (g: Grid): MxArray =>
  array(Float32Array.from(g.data), { shape: [1, g.height, g.width, g.channels] });

export const relu = (x: Grid): Grid => ({ ...x, data: x.data.map((value) => Math.max(value, 0)) });

export function sum(a: Grid, b: Grid): Grid {
  assert.deepEqual([a.height, a.width, a.channels], [b.height, b.width, b.channels]);
  return { ...a, data: a.data.map((value, i) => value + b.data[i]!) };
}

export const joinChannels = (a: Grid, b: Grid): Grid =>
  fill([a.height, a.width, a.channels + b.channels], (y, x, c) =>
    c < a.channels ? pixelAt(a, y, x, c) : pixelAt(b, y, x, c - a.channels),
  );

/** Values between −1 and 1 without a simple pattern. */
export const noise = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + (i % 7)) * Math.cos(i * 0.37));
