import { type Rectangle, type Size, union } from "../field/rectangle.js";
import type { Frame } from "../pictures/frame.js";
import type { View } from "./view.js";

/** The layout in pixels of the photo (or of the map, if there is no photo), from its upper left corner. */
export interface World {
  /** What is visible without zoom. */
  readonly bounds: Rectangle;
  /** The place of photo, depth and relief. */
  readonly picture: Rectangle;
  readonly result: Rectangle;
  /** The area of the next result; null when that is the whole picture. */
  readonly frame: Rectangle | null;
}

/** Results whose aspect ratios differ by less than this fill the picture: sizes are rounded to multiples of 16. */
const tolerance = 0.03;

/**
 * Lays out the world. A result is placed at its frame, so that it covers the part that it was made from.
 * @param picture null when there is only a result
 * @param views the visible views: a result alone is shown whole, without the cropped parts of the photo
 */
export function worldOf(
  picture: Size | null,
  result: Size | null,
  frame: Frame | null,
  views: readonly View[],
): World {
  // Width and height are accessors of bitmaps, which a spread omits.
  const { width, height } = picture ?? result ?? { width: 1, height: 1 };
  const whole = { x: 0, y: 0, width, height };
  const target = frame && targetOf(frame);
  const results = target ?? (result ? fitted(result, whole) : whole);
  const alone = views.every((view) => view === "result");
  return {
    bounds: alone ? results : target ? union(whole, target) : whole,
    picture: whole,
    result: results,
    frame: target,
  };
}

/** The target of a frame, in pixels of the picture: inside it for cropping, around it for padding. */
function targetOf({ source, place, target }: Frame): Rectangle {
  const [across, down] = [source.width / place.width, source.height / place.height];
  return {
    x: source.x - place.x * across,
    y: source.y - place.y * down,
    width: target.width * across,
    height: target.height * down,
  };
}

/** The largest area of the given aspect ratio within a room. */
function fitted(size: Size, room: Rectangle): Rectangle {
  const ratio = size.width / size.height / (room.width / room.height);
  if (Math.abs(ratio - 1) < tolerance) return room;
  const scale = Math.min(room.width / size.width, room.height / size.height);
  const [width, height] = [size.width * scale, size.height * scale];
  return { x: room.x + (room.width - width) / 2, y: room.y + (room.height - height) / 2, width, height };
}
