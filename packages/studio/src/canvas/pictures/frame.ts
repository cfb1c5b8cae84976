import type { DepthField } from "../field/depth-field.js";
import type { Rectangle, Size } from "../field/rectangle.js";

/** How a picture fits a size of another aspect ratio: cropped or padded, but never stretched. */
export type Fitting = "crop" | "pad";

/** The part of a picture that is used, and its place in the target. */
export interface Frame {
  /** The part of the picture that is used, in its pixels. */
  readonly source: Rectangle;
  /** Where that part lies within the target, in the target's pixels. */
  readonly place: Rectangle;
  readonly target: Size;
}

/** Fits a picture into a size, centred on whole pixels. The rounding may stretch it by less than a pixel. */
export function frameFor(picture: Size, target: Size, fitting: Fitting): Frame {
  const scales = [target.width / picture.width, target.height / picture.height] as const;
  // Width and height are accessors of bitmaps, which a spread omits.
  const whole = ({ width, height }: Size): Rectangle => ({ x: 0, y: 0, width, height });
  if (fitting === "crop") {
    const scale = Math.max(...scales);
    const part = { width: target.width / scale, height: target.height / scale };
    return { source: centred(part, picture), place: whole(target), target };
  }
  const scale = Math.min(...scales);
  const part = { width: picture.width * scale, height: picture.height * scale };
  return { source: whole(picture), place: centred(part, target), target };
}

function centred(part: Size, room: Size): Rectangle {
  const length = (size: number, within: number): number => Math.min(Math.max(Math.round(size), 1), within);
  const [width, height] = [length(part.width, room.width), length(part.height, room.height)];
  return {
    x: Math.round((room.width - width) / 2),
    y: Math.round((room.height - height) / 2),
    width,
    height,
  };
}

/** Whether the frame shows the whole picture and nothing else. */
export const isWhole = ({ source, place, target }: Frame, picture: Size): boolean =>
  source.width === picture.width &&
  source.height === picture.height &&
  place.width === target.width &&
  place.height === target.height;

/** The largest size worth sending, as a multiple of the target: depth estimates benefit from extra pixels. */
const surplus = 2;

/**
 * Crops or pads a photo. Padding repeats the pixels at its border.
 * @returns a PNG at the photo's own scale, up to twice the target
 */
export async function renderFrame(picture: ImageBitmap, frame: Frame): Promise<Blob> {
  const { source, place, target } = frame;
  const scale = Math.min(source.width / place.width, surplus);
  const canvas = new OffscreenCanvas(Math.round(target.width * scale), Math.round(target.height * scale));
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  const columns = bands(source.x, source.width, place.x * scale, place.width * scale, canvas.width);
  const rows = bands(source.y, source.height, place.y * scale, place.height * scale, canvas.height);
  for (const row of rows)
    for (const column of columns)
      context.drawImage(
        picture,
        column.source,
        row.source,
        column.sourceLength,
        row.sourceLength,
        column.at,
        row.at,
        column.length,
        row.length,
      );
  return await canvas.convertToBlob({ type: "image/png" });
}

/** Along one axis: the border pixel before the picture, the picture, the border pixel after it. */
function bands(source: number, sourceLength: number, at: number, length: number, room: number) {
  const [start, end] = [Math.round(at), Math.round(at + length)];
  return [
    { source, sourceLength: 1, at: 0, length: start },
    { source, sourceLength, at: start, length: end - start },
    { source: source + sourceLength - 1, sourceLength: 1, at: end, length: room - end },
  ].filter((band) => band.length > 0);
}

/**
 * Crops or pads a depth map without resampling it. Padding repeats the values at its border.
 * @param frame of a picture of the field's size
 */
export function framedField(field: DepthField, { source, place, target }: Frame): DepthField {
  const [across, down] = [source.width / place.width, source.height / place.height];
  const [width, height] = [Math.round(target.width * across), Math.round(target.height * down)];
  const [left, top] = [Math.round(place.x * across), Math.round(place.y * down)];
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = (source.y + within(y - top, source.height)) * field.width + source.x;
    for (let x = 0; x < width; x++)
      values[y * width + x] = field.values[row + within(x - left, source.width)]!;
  }
  return { width, height, values };
}

const within = (index: number, count: number): number => Math.min(Math.max(index, 0), count - 1);
