/** A size in pixels: of a picture, or of the page. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A region of whole pixels, from its upper left corner. */
export interface Rectangle extends Size {
  readonly x: number;
  readonly y: number;
}

/** The smallest rectangle around both. */
export function union(a: Rectangle, b: Rectangle): Rectangle {
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return {
    x,
    y,
    width: Math.max(a.x + a.width, b.x + b.width) - x,
    height: Math.max(a.y + a.height, b.y + b.height) - y,
  };
}
