import { describeBytes } from "../bytes.js";
import type { Io } from "../command/index.js";
import { estimatorDescriptions } from "../depth/descriptions.js";
import { printable, printableLine } from "./printable.js";

/** Shows a command's progress: a bar redrawn on a terminal, one line per event elsewhere. */
export interface Progress {
  /** Starts a stage and ends the previous one. */
  stage(name: string): void;
  /** Reports a completed step of the current stage. */
  step(index: number, total: number, seconds: number): void;
  /** Shows what the current stage is doing, until its next step. */
  status(text: string): void;
  /** Prints a permanent line. */
  note(text: string): void;
  /** Ends the last stage. */
  finish(): void;
  /** Cleans up the terminal after a failure. */
  abandon(): void;
}

export const silent = (io: Io): Progress => ({
  stage() {},
  step() {},
  status() {},
  note: (text) => void io.stderr.write(`${text}\n`),
  finish() {},
  abandon() {},
});

export const progressOn = (io: Io): Progress => (io.stderr.isTTY ? new Bar(io.stderr) : new Lines(io.stderr));

/** The fields of the library's `DownloadProgress` that are shown. */
interface Download {
  readonly component: string;
  readonly bytes: number;
  readonly bytesDone: number;
  readonly files: number;
  readonly filesDone: number;
  readonly waiting?: { readonly for: string; readonly seconds: number };
}

/** Shows a download: continuously on a terminal, otherwise every tenth. */
export function downloadOn(progress: Progress, io: Io): (download: Download) => void {
  const began = performance.now();
  let first: number | null = null;
  let shown = "";
  return ({ component, bytes, bytesDone, files, filesDone, waiting }) => {
    if (waiting) {
      progress.status(
        `downloading ${component}: waiting for ${waiting.for}, ${Math.round(waiting.seconds)} s so far`,
      );
      shown = "";
      return;
    }
    // The configs, which are downloaded first, are too small to show.
    if (bytes < 1e6) return;
    first ??= bytesDone;
    const tenth = `${component} ${bytes} ${Math.floor((10 * bytesDone) / bytes)}`;
    if (!io.stderr.isTTY && tenth === shown) return;
    shown = tenth;
    const seconds = (performance.now() - began) / 1000;
    const speed = seconds > 2 ? `, ${describeBytes((bytesDone - first) / seconds)}/s` : "";
    progress.status(
      `downloading ${component}, ${describeBytes(bytesDone)} of ${describeBytes(bytes)}, ${filesDone} of ${files} files${speed}`,
    );
  };
}

/** The fields of the library's `LoadProgress` that are shown. */
interface Load {
  readonly component: string;
  readonly state: "start" | "read" | "end";
  readonly bytes: number;
  readonly bytesDone: number;
}

/** Shows the reading of weights: continuously on a terminal; otherwise their size, and every tenth of a long read. */
export function loadOn(progress: Progress, io: Io): (load: Load) => void {
  let shown = 0;
  return ({ component, state, bytes, bytesDone }) => {
    if (state === "end") return;
    const tenth = Math.floor((10 * bytesDone) / bytes);
    if (state === "read" && !io.stderr.isTTY && (bytes < longLoad || tenth === shown)) return;
    shown = tenth;
    const done = state === "start" ? "" : `${describeBytes(bytesDone)} of `;
    progress.status(`reading ${nameOf[component] ?? component}, ${done}${describeBytes(bytes)}`);
  };
}

/** Reading this many bytes takes seconds. */
const longLoad = 0.5e9;

/** Names for components that differ from their folders' names. */
const nameOf: Readonly<Record<string, string>> = Object.fromEntries(
  estimatorDescriptions.map(({ modelType, name }) => [modelType, name]),
);

/** "0.42 s", "12 s", "3 min 5 s". */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Estimates the remaining time from the median step, so that a slow first step does not distort it. */
class Pace {
  readonly #times: number[] = [];

  add(seconds: number): void {
    this.#times.push(seconds);
  }

  get step(): number {
    const sorted = this.#times.toSorted((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? 0;
  }

  left(steps: number): string {
    return duration(this.step * steps);
  }
}

class Lines implements Progress {
  protected readonly out: Io["stderr"];
  protected current: { name: string; began: number; pace: Pace } | null = null;

  constructor(out: Io["stderr"]) {
    this.out = out;
  }

  stage(name: string): void {
    this.finish();
    this.current = { name, began: performance.now(), pace: new Pace() };
  }

  step(index: number, total: number, seconds: number): void {
    const pace = this.current?.pace;
    pace?.add(seconds);
    this.note(
      `${this.current?.name ?? "step"} ${index}/${total}: ${duration(seconds)}, ${pace?.left(total - index)} left`,
    );
  }

  status(text: string): void {
    this.note(text);
  }

  note(text: string): void {
    this.out.write(`${printable(text)}\n`);
  }

  finish(): void {
    if (this.current)
      this.note(`${this.current.name}: ${duration((performance.now() - this.current.began) / 1000)}`);
    this.current = null;
  }

  abandon(): void {
    this.current = null;
  }
}

const erase = "\r\x1b[2K";

class Bar extends Lines {
  override stage(name: string): void {
    super.stage(name);
    this.#draw(`${name} …`);
  }

  override step(index: number, total: number, seconds: number): void {
    if (!this.current) return;
    const { name, pace } = this.current;
    pace.add(seconds);
    const numbers = `${index}/${total}  ${duration(pace.step)} a step  ${pace.left(total - index)} left`;
    const room = Math.min((this.out.columns || 80) - name.length - numbers.length - 5, 40);
    const filled = Math.round((room * index) / total);
    const bar = room >= 8 ? `${"█".repeat(filled)}${"░".repeat(room - filled)}  ` : "";
    this.#draw(`${name}  ${bar}${numbers}`);
  }

  override status(text: string): void {
    this.#draw(`${this.current ? `${this.current.name}: ` : ""}${text} …`);
  }

  override note(text: string): void {
    this.out.write(`${erase}${printable(text)}\n`);
  }

  override abandon(): void {
    if (this.current) this.out.write(erase);
    this.current = null;
  }

  #draw(line: string): void {
    this.out.write(erase + printableLine(line).slice(0, (this.out.columns || 80) - 1));
  }
}
