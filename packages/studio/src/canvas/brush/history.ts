import type { DepthField } from "../field/depth-field.js";
import type { Rectangle } from "../field/rectangle.js";

/** The side of a tile in pixels: small enough for thin strokes, large enough to keep the list of a stroke short. */
const side = 64;

/** The tiles that a stroke touched, with their values from the other side of undo or redo. */
type Stroke = Map<number, Float32Array>;

/**
 * The strokes on a field, to undo and redo. It keeps only the tiles that a stroke touched. Undo and redo swap them with
 * the field, so a stroke never takes more than one copy of its tiles.
 */
export class StrokeHistory {
  #field: DepthField;
  #limit: number;
  #undone: Stroke[] = [];
  #done: Stroke[] = [];
  #open: Stroke | null = null;
  #forgetful = false;

  /** @param limit bytes of tiles to keep; the oldest strokes go first, and the last one always stays */
  constructor(field: DepthField, limit = 64 * 2 ** 20) {
    this.#field = field;
    this.#limit = limit;
  }

  get canUndo(): boolean {
    return this.#done.length > 0;
  }

  get canRedo(): boolean {
    return this.#undone.length > 0;
  }

  /** Whether old strokes were dropped and can no longer be undone. */
  get forgetful(): boolean {
    return this.#forgetful;
  }

  /** Bytes of the tiles kept. */
  get bytes(): number {
    let bytes = 0;
    for (const stroke of [...this.#done, ...this.#undone])
      for (const tile of stroke.values()) bytes += tile.byteLength;
    return bytes;
  }

  begin(): void {
    this.#open = new Map();
  }

  /** Saves the tiles of a region; call it before a stroke changes them. */
  keep(region: Rectangle): void {
    const columns = this.#columns;
    const lastRow = Math.floor((region.y + region.height - 1) / side);
    const lastColumn = Math.floor((region.x + region.width - 1) / side);
    for (let row = Math.floor(region.y / side); row <= lastRow; row++)
      for (let column = Math.floor(region.x / side); column <= lastColumn; column++) {
        const index = row * columns + column;
        if (!this.#open!.has(index)) this.#open!.set(index, this.#copy(index));
      }
  }

  /** Ends the stroke. A stroke that changed nothing is not recorded. */
  end(): void {
    const stroke = this.#open;
    this.#open = null;
    if (!stroke || stroke.size === 0) return;
    this.#undone = [];
    this.#done.push(stroke);
    while (this.#done.length > 1 && this.bytes > this.#limit) {
      this.#done.shift();
      this.#forgetful = true;
    }
  }

  /** Reverts the stroke in progress, without redo. @returns the region that changed, or null if there is none */
  abandon(): Rectangle | null {
    const stroke = this.#open;
    this.#open = null;
    return stroke && stroke.size > 0 ? this.#swap(stroke) : null;
  }

  /** Undoes the last stroke. @returns the region that changed, or null if there was nothing to undo */
  undo(): Rectangle | null {
    return this.#move(this.#done, this.#undone);
  }

  /** Redoes the stroke that was undone last. @returns the region that changed, or null if there was none */
  redo(): Rectangle | null {
    return this.#move(this.#undone, this.#done);
  }

  #move(from: Stroke[], to: Stroke[]): Rectangle | null {
    const stroke = from.pop();
    if (!stroke) return null;
    to.push(stroke);
    return this.#swap(stroke);
  }

  /** Exchanges a stroke's tiles with those of the field. @returns the region around them */
  #swap(stroke: Stroke): Rectangle {
    let [left, top, right, bottom] = [this.#field.width, this.#field.height, 0, 0];
    for (const [index, tile] of stroke) {
      const { x, y, width, height } = this.#boundsOf(index);
      stroke.set(index, this.#copy(index));
      for (let row = 0; row < height; row++)
        this.#field.values.set(
          tile.subarray(row * width, (row + 1) * width),
          (y + row) * this.#field.width + x,
        );
      [left, top] = [Math.min(left, x), Math.min(top, y)];
      [right, bottom] = [Math.max(right, x + width), Math.max(bottom, y + height)];
    }
    return { x: left, y: top, width: right - left, height: bottom - top };
  }

  get #columns(): number {
    return Math.ceil(this.#field.width / side);
  }

  #boundsOf(index: number): Rectangle {
    const { width, height } = this.#field;
    const [x, y] = [(index % this.#columns) * side, Math.floor(index / this.#columns) * side];
    return { x, y, width: Math.min(side, width - x), height: Math.min(side, height - y) };
  }

  #copy(index: number): Float32Array {
    const { x, y, width, height } = this.#boundsOf(index);
    const tile = new Float32Array(width * height);
    for (let row = 0; row < height; row++) {
      const start = (y + row) * this.#field.width + x;
      tile.set(this.#field.values.subarray(start, start + width), row * width);
    }
    return tile;
  }
}
