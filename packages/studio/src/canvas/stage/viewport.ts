import type { Rectangle, Size } from "../field/rectangle.js";

export interface Point {
  readonly x: number;
  readonly y: number;
}

/**
 * The part of the world that a pane shows. All views share it, so that everything stays in place when the view changes.
 */
export interface Viewport {
  /** A multiple of the size at which the bounds just fit. */
  readonly zoom: number;
  /** The point in the middle of the pane, as shares of the bounds' width and height. */
  readonly center: Point;
}

/** The whole picture. */
export const wholePicture: Viewport = { zoom: 1, center: { x: 0.5, y: 0.5 } };

/** The largest size of one picture pixel, in CSS pixels. */
const largestPixel = 32;

/** The margin around the bounds when they just fit, in CSS pixels. */
const inset = 12;

/** CSS pixels per pixel of the bounds when they just fit into a pane. */
export const fitScale = (pane: Size, bounds: Size): number =>
  Math.max(
    Math.min((pane.width - 2 * inset) / bounds.width, (pane.height - 2 * inset) / bounds.height),
    1 / Math.max(bounds.width, bounds.height),
  );

/** The place of the bounds in a pane: upper left corner and size, in CSS pixels from the pane's corner. */
export function placed(viewport: Viewport, pane: Size, bounds: Size): Rectangle {
  const scale = fitScale(pane, bounds) * viewport.zoom;
  const [width, height] = [bounds.width * scale, bounds.height * scale];
  return {
    x: pane.width / 2 - viewport.center.x * width,
    y: pane.height / 2 - viewport.center.y * height,
    width,
    height,
  };
}

/** The place of a part of the world in a pane, in CSS pixels from the pane's corner. */
export function partPlaced(viewport: Viewport, pane: Size, bounds: Rectangle, part: Rectangle): Rectangle {
  const all = placed(viewport, pane, bounds);
  const scale = all.width / bounds.width;
  return {
    x: all.x + (part.x - bounds.x) * scale,
    y: all.y + (part.y - bounds.y) * scale,
    width: part.width * scale,
    height: part.height * scale,
  };
}

/**
 * Zooms by a factor while keeping the point under the pointer in place.
 * @param point in CSS pixels from the pane's corner
 */
export function zoomedAt(
  viewport: Viewport,
  { pane, bounds }: { pane: Size; bounds: Size },
  point: Point,
  factor: number,
): Viewport {
  const zoom = clamp(viewport.zoom * factor, 1, Math.max(1, largestPixel / fitScale(pane, bounds)));
  const before = placed(viewport, pane, bounds);
  const fixed = { x: (point.x - before.x) / before.width, y: (point.y - before.y) / before.height };
  const { width, height } = placed({ ...viewport, zoom }, pane, bounds);
  const center = {
    x: fixed.x - (point.x - pane.width / 2) / width,
    y: fixed.y - (point.y - pane.height / 2) / height,
  };
  return contained({ zoom, center }, pane, bounds);
}

/** Moves the picture by CSS pixels. */
export function panned(viewport: Viewport, pane: Size, bounds: Size, by: Point): Viewport {
  const { width, height } = placed(viewport, pane, bounds);
  const center = { x: viewport.center.x - by.x / width, y: viewport.center.y - by.y / height };
  return contained({ ...viewport, center }, pane, bounds);
}

/** Keeps the bounds in sight: centred where they are smaller than the pane, otherwise covering it. */
export function contained(viewport: Viewport, pane: Size, bounds: Size): Viewport {
  const { width, height } = placed(viewport, pane, bounds);
  const inside = (center: number, length: number, room: number): number => {
    const half = room / 2 / length;
    return half >= 0.5 ? 0.5 : clamp(center, half, 1 - half);
  };
  return {
    zoom: viewport.zoom,
    center: {
      x: inside(viewport.center.x, width, pane.width),
      y: inside(viewport.center.y, height, pane.height),
    },
  };
}

/** The same place and scale for other bounds; all of them if everything was visible. */
export function rebased(viewport: Viewport, pane: Size, from: Rectangle, to: Rectangle): Viewport {
  if (viewport.zoom === 1) return wholePicture;
  const zoom = Math.max(1, (viewport.zoom * fitScale(pane, from)) / fitScale(pane, to));
  const center = {
    x: (from.x + viewport.center.x * from.width - to.x) / to.width,
    y: (from.y + viewport.center.y * from.height - to.y) / to.height,
  };
  return contained({ zoom, center }, pane, to);
}

/** The zoom factor at which a picture pixel is as large as a screen pixel. */
export const pixelZoom = (pane: Size, bounds: Size, pixelRatio: number): number =>
  Math.max(1, 1 / (fitScale(pane, bounds) * pixelRatio));

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max);
