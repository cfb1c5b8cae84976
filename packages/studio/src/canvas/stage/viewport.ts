/** A size in CSS pixels or in pixels of a picture. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/**
 * Which part of a picture a pane shows. It is independent of the picture's size, so that photo, depth and result of
 * different sizes stay in place when one replaces the other.
 */
export interface Viewport {
  /** Times the size at which the whole picture fits. */
  readonly zoom: number;
  /** The point of the picture in the middle of the pane, as shares of its width and height. */
  readonly center: Point;
}

/** The whole picture. */
export const wholePicture: Viewport = { zoom: 1, center: { x: 0.5, y: 0.5 } };

/** The largest size of one picture pixel, in CSS pixels. */
const largestPixel = 32;

/** CSS pixels for each pixel of a picture that just fits into a pane. */
export const fitScale = (pane: Size, picture: Size): number =>
  Math.min(pane.width / picture.width, pane.height / picture.height);

/** Where a pane shows a picture: its upper left corner and size, in CSS pixels from the pane's corner. */
export function placed(viewport: Viewport, pane: Size, picture: Size): Point & Size {
  const scale = fitScale(pane, picture) * viewport.zoom;
  const [width, height] = [picture.width * scale, picture.height * scale];
  return {
    x: pane.width / 2 - viewport.center.x * width,
    y: pane.height / 2 - viewport.center.y * height,
    width,
    height,
  };
}

/** The point of the picture under a point of the pane, as shares of its width and height. */
export function shareAt(viewport: Viewport, pane: Size, picture: Size, point: Point): Point {
  const { x, y, width, height } = placed(viewport, pane, picture);
  return { x: (point.x - x) / width, y: (point.y - y) / height };
}

/**
 * Zooms by a factor so that the point under the pointer stays there.
 * @param point in CSS pixels from the pane's corner
 */
export function zoomedAt(
  viewport: Viewport,
  { pane, picture }: { pane: Size; picture: Size },
  point: Point,
  factor: number,
): Viewport {
  const zoom = clamp(viewport.zoom * factor, 1, Math.max(1, largestPixel / fitScale(pane, picture)));
  const fixed = shareAt(viewport, pane, picture, point);
  const { width, height } = placed({ ...viewport, zoom }, pane, picture);
  const center = {
    x: fixed.x - (point.x - pane.width / 2) / width,
    y: fixed.y - (point.y - pane.height / 2) / height,
  };
  return contained({ zoom, center }, pane, picture);
}

/** Moves the picture by CSS pixels. */
export function panned(viewport: Viewport, pane: Size, picture: Size, by: Point): Viewport {
  const { width, height } = placed(viewport, pane, picture);
  const center = { x: viewport.center.x - by.x / width, y: viewport.center.y - by.y / height };
  return contained({ ...viewport, center }, pane, picture);
}

/** Keeps the picture in sight: centred where it is smaller than the pane, otherwise covering it. */
export function contained(viewport: Viewport, pane: Size, picture: Size): Viewport {
  const { width, height } = placed(viewport, pane, picture);
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

/** The factor of zoom that shows one pixel of the picture as one pixel of the screen. */
export const pixelZoom = (pane: Size, picture: Size, pixelRatio: number): number =>
  Math.max(1, 1 / (fitScale(pane, picture) * pixelRatio));

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max);
