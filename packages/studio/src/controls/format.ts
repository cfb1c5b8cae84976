/* Formats numbers for people. */
import { strings } from "../strings.js";

/** A duration, roughly: "40 s", "3 min", "2 h". */
export function roughTime(seconds: number): string {
  if (seconds < 90) return strings.time.seconds(Math.max(1, Math.round(seconds)));
  if (seconds < 90 * 60) return strings.time.minutes(Math.round(seconds / 60));
  return strings.time.hours(Math.round(seconds / 3600));
}

/** Memory in GB or MB (10⁹ and 10⁶ bytes). */
export function memoryText(bytes: number): string {
  if (bytes < 1e9) return strings.memory.megabytes(Math.round(bytes / 1e6));
  return strings.memory.gigabytes((bytes / 1e9).toFixed(1));
}

/** A size in pixels. */
export const sizeText = ({ width, height }: { readonly width: number; readonly height: number }): string =>
  `${width} × ${height}`;
