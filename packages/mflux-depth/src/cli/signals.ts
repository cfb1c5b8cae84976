/*
 * Ctrl-C and the other signals that stop a command. The first one asks it to stop; a second one, or the time that only
 * Ctrl-C has without limit, ends the process, also if its event loop is blocked or its threads go on.
 */
import { constants } from "node:os";
import { endNow, guardSignal } from "@mflux-depth/mlx/exit-guard";
import { removeTemporaries } from "../files/temporary.js";

type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** Whether the sender waits for the process to end. A person at the keyboard can press Ctrl-C again. */
const urgency: Readonly<Record<StopSignal, boolean>> = { SIGINT: false, SIGTERM: true, SIGHUP: true };

/** The time that a command has to stop by itself, once the process has to end. */
const graceMs = 400;
/** The time that the event loop has to end the process, which includes the command's; less than a second. */
const patienceMs = 700;

/** The reason when a signal stops a command. */
export class Stopped extends Error {
  override readonly name = "AbortError";
  /** The exit code that shells expect: 128 and the number of the signal. */
  readonly exitCode: number;

  constructor(signal: StopSignal) {
    super(`stopped by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

export interface StopSignals {
  /** Aborted, with a {@link Stopped}, by the first signal. */
  readonly signal: AbortSignal;
  /** Ends the process if a signal has come, whatever its threads still do; otherwise stops listening. */
  finish(code: number): void;
}

/** Listens to the signals that stop this process. */
export function listenToSignals(): StopSignals {
  const controller = new AbortController();
  const end = (code: number): never => {
    removeTemporaries();
    endNow(code);
  };
  let guarded = false;
  const handlers = Object.entries(urgency).map(([name, urgent]) => {
    const signal = name as StopSignal;
    const handler = (): void => {
      const reason = new Stopped(signal);
      if (controller.signal.aborted) end(reason.exitCode);
      if (urgent) setTimeout(end, graceMs, reason.exitCode).unref();
      process.stderr.write("\nStopping …\n");
      controller.abort(reason);
    };
    process.on(signal, handler);
    guarded = guardSignal(signal, { urgent, patienceMs });
    return [signal, handler] as const;
  });
  return {
    signal: controller.signal,
    finish(code) {
      if (controller.signal.aborted && guarded) end(code);
      for (const [signal, handler] of handlers) process.off(signal, handler);
    },
  };
}
