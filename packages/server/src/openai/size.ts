import { requestOptions } from "mflux-depth/options";
import type { JsonOptions } from "../contract/index.js";
import { HttpError } from "../http/error.js";

const { width, height } = requestOptions;
const { min, max, floorTo } = width.kind;

/**
 * The width and height for a `size`.
 * @param photo gives the aspect ratio for "auto", with about as many pixels as the default size
 * @throws {HttpError} 400 for another form, or a size out of range.
 */
export function sizeOf(
  size: string,
  request: JsonOptions,
  photo: { readonly width: number; readonly height: number } | null,
): { readonly width?: number; readonly height?: number } {
  const isGiven = request.width !== undefined || request.height !== undefined;
  if (size === "auto") {
    if (isGiven || photo === null) return {};
    const scale = Math.sqrt((width.default * height.default) / (photo.width * photo.height));
    const side = (pixels: number): number =>
      Math.min(max, Math.max(min, Math.floor((pixels * scale) / floorTo) * floorTo));
    return { width: side(photo.width), height: side(photo.height) };
  }
  const refuse = (code: string, message: string): HttpError =>
    new HttpError(400, code, message, { param: "size" });
  if (isGiven) throw refuse("option_conflict", "size and width or height are given; leave one out.");
  const sides = /^(\d{1,5})x(\d{1,5})$/.exec(size)?.slice(1).map(Number);
  if (!sides) throw refuse("invalid_value", "size must be WIDTHxHEIGHT, such as 1024x1024, or auto.");
  if (sides.some((pixels) => pixels < min || pixels > max))
    throw refuse("out_of_range", `size must have sides from ${min} to ${max}.`);
  return { width: sides[0]!, height: sides[1]! };
}
