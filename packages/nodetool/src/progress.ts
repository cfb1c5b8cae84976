import type { EngineEvent, EngineJob } from "mflux-depth/engine";
import { warningOf } from "./advice.js";

/** How far a run is, as hosts show it: a bar with two numbers. */
export type RunProgress = {
  readonly progress: number;
  readonly total: number;
  /** The work before the first step; or a warning. */
  readonly message?: string;
};

/** The shortest time between two messages about weights being read. */
const readingMs = 100;

/**
 * Turns the events of a run into progress: megabytes while models are downloaded, step 0 while weights are read, then
 * each step. A warning leaves the bar where it is.
 */
export function progressOf(
  { request: { steps } }: EngineJob,
  tell: (progress: RunProgress) => void,
): (event: EngineEvent) => void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let bar = { progress: 0, total: steps ?? 0 };
  return (event) => {
    if (event.type === "step") {
      bar = { progress: event.index, total: event.total };
      tell(bar);
    }
    if (event.type === "warning") tell({ ...bar, message: `Warning: ${warningOf(event)}` });
    if (event.type !== "load") return;
    const { component, bytesDone, bytes } = event;
    if (event.state === "download") {
      const [done, all] = [bytesDone, bytes].map((count) => (count / 1e9).toFixed(2));
      tell({
        progress: Math.floor(bytesDone / 1e6),
        total: Math.ceil(bytes / 1e6),
        message: `Downloading ${component}: ${done} of ${all} GB, ${event.filesDone} of ${event.files} files`,
      });
    } else if (event.state === "start" || performance.now() - toldAt > readingMs) {
      toldAt = performance.now();
      const share = bytesDone === 0 ? "" : `: ${Math.floor((100 * bytesDone) / bytes)} %`;
      tell({ progress: 0, total: steps ?? 0, message: `Loading ${component}${share}` });
    }
  };
}
