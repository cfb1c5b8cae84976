/* Computes which frames of a long film are in view. Pure. */

/** Lengths are CSS pixels along the direction in which the film scrolls: across for one row, down for several columns. */
export interface FilmLayout {
  /** The number of frames side by side across that direction; 1 for a film in one row. */
  readonly columns: number;
  readonly cell: number;
  readonly gap: number;
  readonly scroll: number;
  readonly visible: number;
}

/** Frames from `first` up to `end`, exclusive. */
export interface Range {
  readonly first: number;
  readonly end: number;
}

/** The frames on the page before anything has been measured: more than a wide screen shows. */
export const firstRange: Range = { first: 0, end: 40 };

/** The range moves in multiples of this many lines, so that not every scroll renders anew. */
const lines = 8;

/** The frames in view, and about as many on each side. */
export function rangeOf({ columns, cell, gap, scroll, visible }: FilmLayout): Range {
  const stride = cell + gap;
  const room = Math.max(visible, lines * stride);
  const line = (at: number): number => Math.floor(at / stride / lines) * lines;
  return {
    first: Math.max(0, line(scroll - room)) * columns,
    end: (line(scroll + visible + room) + lines) * columns,
  };
}

/** The space to reserve for the frames before and after a range, without the gap to their neighbours. */
export function spacesOf(
  { columns, cell, gap }: FilmLayout,
  { first, end }: Range,
  count: number,
): { readonly before: number; readonly after: number } {
  const length = (frames: number): number => Math.max(0, Math.ceil(frames / columns) * (cell + gap) - gap);
  return { before: length(first), after: length(count - end) };
}

/** The position of a frame, from the start of the film. */
export const placeOf = ({ columns, cell, gap }: FilmLayout, index: number): number =>
  Math.floor(index / columns) * (cell + gap);
