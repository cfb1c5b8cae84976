/*
 * Progress of a run, as hosts display it: a bar with two numbers. Newer hosts abandon a run after twelve silent
 * minutes, so a silent run repeats its last progress.
 */
import { type EngineEvent, type EngineJob, stepsOf } from "mflux-depth/engine";
import { resolveRequest } from "mflux-depth/options";
import { warningOf } from "./advice.js";

type RunProgress = {
  readonly progress: number;
  readonly total: number;
  /** Describes the work before the first step, or a warning. */
  readonly message?: string;
};

/** Progress of one run; dispose it when the run has ended. */
interface ProgressReport extends Disposable {
  /** Handles an event of the run. */
  readonly receive: (event: EngineEvent) => void;
}

/** The longest silence of a run. */
const reminderMs = 30_000;

/** The minimum time between two messages about reading weights. */
const readingMs = 100;

/**
 * Turns the events of a run into progress: megabytes while models are downloaded, step 0 while weights are read, then
 * each step. A warning leaves the bar where it is.
 */
export function reportProgress(
  { request }: EngineJob,
  tell: (progress: RunProgress) => void,
): ProgressReport {
  const atStart = { progress: 0, total: stepsOf(resolveRequest(request)) };
  let last: RunProgress = { ...atStart, message: "Waiting" };
  let readingAt = Number.NEGATIVE_INFINITY;
  const reminder = setInterval(() => tell(last), reminderMs);
  const move = (progress: RunProgress): void => {
    last = progress;
    reminder.refresh();
    tell(progress);
  };
  return {
    receive(event) {
      if (event.type === "started") last = atStart;
      if (event.type === "step") move({ progress: event.index, total: event.total });
      if (event.type === "warning") tell({ ...barOf(last), message: `Warning: ${warningOf(event)}` });
      if (event.type !== "load") return;
      const { component, bytesDone, bytes } = event;
      if (event.state === "download") {
        const [done, all] = [bytesDone, bytes].map((count) => (count / 1e9).toFixed(2));
        move({
          progress: Math.floor(bytesDone / 1e6),
          total: Math.ceil(bytes / 1e6),
          message: `Downloading ${component}: ${done} of ${all} GB, ${event.filesDone} of ${event.files} files`,
        });
      } else if (event.state === "start" || performance.now() - readingAt > readingMs) {
        readingAt = performance.now();
        const share = bytesDone === 0 ? "" : `: ${Math.floor((100 * bytesDone) / bytes)} %`;
        move({ ...atStart, message: `Loading ${component}${share}` });
      }
    },
    [Symbol.dispose]: () => clearInterval(reminder),
  };
}

const barOf = ({ progress, total }: RunProgress): RunProgress => ({ progress, total });
