/*
 * Ctrl-C and the other signals that stop a command. The first one asks it to stop. A second one, or a time limit for
 * signals other than Ctrl-C, ends the process even if its event loop is blocked or threads are running.
 */
import { constants } from "node:os";
import { endNow, guardSignal } from "@mflux-depth/mlx/exit-guard";
import { removeTemporaries } from "../files/temporary.js";

type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** How a kind of command stops. */
interface StopPolicy {
  /** Whether the sender waits for the process to end. A person at the keyboard can press Ctrl-C again. */
  readonly urgency: Readonly<Record<StopSignal, boolean>>;
  /** The time for stopping voluntarily, once the process has to end. */
  readonly graceMs: number;
  /** The time for the event loop to end the process, including `graceMs`. */
  readonly patienceMs: number;
  /** Whether SIGTERM is the normal way to end it and exits with 0. */
  readonly endsWithTerm: boolean;
  /** Whether to tell the person at the keyboard that it is stopping. */
  readonly announces: boolean;
}

/** A command stops in less than a second. */
export const commandStop: StopPolicy = {
  urgency: { SIGINT: false, SIGTERM: true, SIGHUP: true },
  graceMs: 400,
  patienceMs: 700,
  endsWithTerm: false,
  announces: true,
};

/** A service first saves its work so that it can continue, within ten seconds. */
export const serviceStop: StopPolicy = {
  urgency: { SIGINT: true, SIGTERM: true, SIGHUP: true },
  graceMs: 9000,
  patienceMs: 9700,
  endsWithTerm: true,
  announces: false,
};

/** The reason when a signal stops a command. */
export class Stopped extends Error {
  override readonly name = "AbortError";
  /** The exit code that shells expect: 128 plus the signal's number, or 0 for a normal end. */
  readonly exitCode: number;

  constructor(signal: StopSignal, { endsWithTerm }: Pick<StopPolicy, "endsWithTerm">) {
    super(`stopped by ${signal}`);
    this.exitCode = endsWithTerm && signal === "SIGTERM" ? 0 : 128 + constants.signals[signal];
  }
}

export interface StopSignals {
  /** Aborted, with a {@link Stopped}, by the first signal. */
  readonly signal: AbortSignal;
  /** Ends the process if a signal has arrived, whatever its threads are doing; otherwise stops listening. */
  finish(code: number): void;
}

/** Listens to the signals that stop this process. */
export function listenToSignals(policy: StopPolicy = commandStop): StopSignals {
  const { urgency, graceMs, patienceMs, announces } = policy;
  const controller = new AbortController();
  const end = (code: number): never => {
    removeTemporaries();
    endNow(code);
  };
  let guarded = false;
  const handlers = Object.entries(urgency).map(([name, urgent]) => {
    const signal = name as StopSignal;
    const handler = (): void => {
      const reason = new Stopped(signal, policy);
      if (controller.signal.aborted) end(reason.exitCode);
      if (urgent) setTimeout(end, graceMs, reason.exitCode).unref();
      if (announces) process.stderr.write("\nStopping …\n");
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
