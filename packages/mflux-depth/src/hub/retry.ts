import { setTimeout as sleep } from "node:timers/promises";
import { type WaitListener, WaitReport } from "./waiting.js";

/** Retry limits for a bad connection. */
export interface Patience {
  /** Attempts after the first that may fail in a row without receiving a byte. */
  readonly retries: number;
  /** Pause before the first of them, in milliseconds; it doubles for each later one. */
  readonly delayMs: number;
  /** A connection that receives nothing for this long counts as broken. */
  readonly stallMs: number;
  /** The longest that a complete answer of the Hub's API may take; files may take any time, at a thousand bytes a second. */
  readonly answerMs: number;
  /** How long a file may arrive too slowly. */
  readonly slowMs: number;
  /** How often waits are reported. */
  readonly reportMs: number;
}

export const usualPatience: Patience = {
  retries: 5,
  delayMs: 500,
  stallMs: 20_000,
  answerMs: 60_000,
  slowMs: 60_000,
  reportMs: 5000,
};

/** The longest wait that a server may ask for. */
const longestWaitMs = 5 * 60_000;

/** Retries while the server cannot be reached, does not answer, or sends almost nothing. */
const fewRetries = 2;

/** A failure that may be gone at the next attempt. */
export class Transient extends Error {
  constructor(
    message: string,
    readonly options: ErrorOptions & {
      /** The wait that the server asks for. */
      readonly afterMs?: number | undefined;
      /** There is no server, so a long wait is useless. */
      readonly unreachable?: boolean;
      /** The server accepts connections and sends no answer; each attempt has already waited for long. */
      readonly silent?: boolean;
      /** The server sends a few bytes with each attempt, and would take for ever. */
      readonly slow?: boolean;
    } = {},
  ) {
    super(message, options);
  }
}

export interface RetryOptions {
  readonly patience: Patience;
  readonly signal: AbortSignal | undefined;
  /** Tells whether the last attempt made progress; if it did, the count of failures starts again. */
  readonly gained?: (() => boolean) | undefined;
  /** The error to throw after the last failure. */
  readonly giveUp: (error: Transient, attempts: number) => Error;
  readonly onWait?: WaitListener | undefined;
}

/**
 * Repeats an attempt while it fails with {@link Transient}, at growing intervals or after the wait that the server asks
 * for.
 * @throws the error of `giveUp` when patience runs out; other errors of the attempt immediately.
 * @throws the signal's reason when cancelled.
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  { patience, signal, gained = () => false, giveUp, onWait }: RetryOptions,
): Promise<T> {
  const { retries, delayMs, reportMs } = patience;
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      const { afterMs, unreachable = false, silent = false, slow = false } = error.options;
      if (gained() && !slow) failures = 1;
      const tooLong = afterMs !== undefined && afterMs > longestWaitMs;
      if (failures > (unreachable || silent || slow ? Math.min(retries, fewRetries) : retries) || tooLong)
        throw giveUp(error, failures);
      const wait = afterMs ?? delayMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      using _report = new WaitReport(`the next attempt (${error.message})`, onWait, reportMs);
      await sleep(wait, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}
